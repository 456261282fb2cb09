"""How fast training is, next to other libraries and to the limit that matrix products set.

    pytest --benchmark-only bench                                    all of it, about 35 minutes on 2 cores
    pytest --benchmark-only bench --benchmark-json=FILE.json         keep every time of every round
    python -m bench.table FILE.json                                  the tables again, in Markdown
    python -m bench.scaling FILE.json                                draw bench/scaling.png

Its parts:
    bench/test_epoch.py      training epochs of seven networks, by all libraries; some 20 minutes
    bench/test_layers.py     each layer's forward and backward pass alone, beside PyTorch's; 5 minutes
    bench/test_scaling.py    how time and memory grow with width, depth, batch size and data set; 7 minutes

    pytest --benchmark-only bench/test_epoch.py -k "784-128-10 and not JAX and not CUDA"
    pytest --benchmark-only bench/test_epoch.py -k conv --bench-malloc=settled
    pytest --benchmark-only bench/test_layers.py -k "Conv2d and not JAX"

Options:
    --bench-images=N          images in an epoch of test_epoch.py (if not given, its own number); whole
                              batches, at most the 48,000 of 28 x 28, or 12,250 of 32 x 32 x 3
    --bench-rounds=N          rounds (if not given, 8 to 20: fewer of what takes long)
    --bench-malloc=settled    let glibc keep the memory that is freed, in all contestants alike

The unit of time is an epoch of `fit`, data on the device, validation off. Epochs are shorter than the
48,000 images that the table quotes times for (5,000 to 20,000 images, or 10 to 50 steps of a convolutional
network; scaled), but taken in turn from as many images as fill 150 MB.
In each round every contestant trains one epoch, in an order drawn anew, each in a process of its
own, after a warm-up; each ends with a wait for the device. The figure to look at is the ratio to
PyTorch, to JAX, or to the limit, within a round: the table has its median over the rounds and its
quartiles. The reference is the faster one where a library has two ways: PyTorch with images in either of
its memory formats, JAX with a jitted step or with all steps of an epoch in one `lax.scan`.
The limit is that of direct convolutions, products with the matrix of all windows; transforms that
need fewer multiplications can be below it.

On a GPU all contestants run twice, in float32 and with TF32 products, and each is compared with those
of its own precision. There the table has the share of peak as well: the operations of the step's products
by its time and what the data sheet promises. `peaks` knows some GPUs.

The numbers of threads are the libraries' own defaults, which is all cores; the environment
(OPENBLAS_NUM_THREADS, OMP_NUM_THREADS) reaches the contestants. Leave the machine alone meanwhile:
where another program takes a core, threads that wait for each other slow down tenfold. Where the
quartiles are far apart, that is what happened.

Convolutional networks allocate much, and how many page faults that costs differs from process to
process: compare them with --bench-malloc=settled.

What is trained: `workloads`. Who competes, and how: `contestants`. The layers: `layer_contestants`. What
grows in the figure: `points`. What is missing on a machine, or has no convolutions, is left out, and the
table says why. (`torch.compile` needs a C++ compiler.)
"""
