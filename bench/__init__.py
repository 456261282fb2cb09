"""How fast training is, next to other libraries and to the limit that matrix products set.

    pytest --benchmark-only bench                                    all of it, some twenty minutes
    pytest --benchmark-only bench -k "784-128-10 and not JAX"        parts of it
    pytest --benchmark-only bench -k conv --bench-malloc=settled     the convolutional networks
    pytest --benchmark-only bench --benchmark-json=FILE.json         keep every time of every round
    python -m bench.table FILE.json                                  the table again, in Markdown

Options:
    --bench-images=N          images in an epoch (if not given, the workload's own number); whole
                              batches, at most the 48,000 of 28 x 28, or 12,250 of 32 x 32 x 3
    --bench-rounds=N          rounds (20)
    --bench-malloc=settled    let glibc keep the memory that is freed, in all contestants alike

The unit of time is an epoch of `fit`, data on the device, validation off. Epochs are shorter than the
48,000 images that the table quotes times for (9,600 images, or 10 to 50 steps of a convolutional
network; scaled), but taken in turn from as many images as fill 150 MB.
In each round every contestant trains one epoch, in an order drawn anew, each in a process of its
own, after a warm-up; each ends with a wait for the device. The figure to look at is the ratio to
PyTorch, or to the limit, within a round: the table has its median over the rounds and its quartiles.
Images with channels PyTorch trains in both its memory formats, and the faster one is the reference.
The limit is that of direct convolutions, products with the matrix of all windows; transforms that
need fewer multiplications can be below it.

The numbers of threads are the libraries' own defaults, which is all cores; the environment
(OPENBLAS_NUM_THREADS, OMP_NUM_THREADS) reaches the contestants. Leave the machine alone meanwhile:
where another program takes a core, threads that wait for each other slow down tenfold. Where the
quartiles are far apart, that is what happened.

Convolutional networks allocate much, and how many page faults that costs differs from process to
process: compare them with --bench-malloc=settled.

What is trained: `workloads`. Who competes, and how: `contestants`. What is missing on a machine, or
has no convolutions, is left out, and the table says why.
"""
