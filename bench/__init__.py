"""How fast training is, next to other libraries and to the limit that matrix products set.

    pytest --benchmark-only bench                                    all of it, some minutes
    pytest --benchmark-only bench -k "784-128-10 and not JAX"        parts of it
    pytest --benchmark-only bench --benchmark-json=FILE.json         keep every time of every round
    python -m bench.table FILE.json                                  the table again, in Markdown

Options:
    --bench-images=N          images in an epoch (9600 if not given); whole batches, at most 48000
    --bench-rounds=N          rounds (20)
    --bench-malloc=settled    let glibc keep the memory that is freed, in all contestants alike

The unit of time is an epoch of `fit`, data on the device, validation off. Epochs are shorter than the
48,000 images that the table quotes times for (9,600, scaled), but taken from 48,000 images in turn.
In each round every contestant trains one epoch, in an order drawn anew, each in a process of its
own, after a warm-up; each ends with a wait for the device. The figure to look at is the ratio to
PyTorch, or to the limit, within a round: the table has its median over the rounds and its quartiles.

The numbers of threads are the libraries' own defaults, which is all cores; the environment
(OPENBLAS_NUM_THREADS, OMP_NUM_THREADS) reaches the contestants. Leave the machine alone meanwhile:
where another program takes a core, threads that wait for each other slow down tenfold. Where the
quartiles are far apart, that is what happened.

What is trained: `workloads`. Who competes, and how: `contestants`. What is missing on a machine is
left out, and the table says why.
"""
