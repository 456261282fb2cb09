"""The speed of training, beside other libraries and the limit that matrix products set.

    pytest --benchmark-only bench                                    everything, about 35 minutes on 2 cores
    pytest --benchmark-only bench --benchmark-json=FILE.json         write every time of every round to a file
    python -m bench.table FILE.json                                  print the tables of that file in Markdown
    python -m bench.scaling FILE.json                                draw bench/scaling.png

Its parts:
    bench/test_epoch.py      training epochs of seven networks in all libraries; about 20 minutes
    bench/test_layers.py     forward and backward pass of single layers, beside PyTorch's; 5 minutes
    bench/test_scaling.py    time and memory against width, depth, batch size and data set; 7 minutes

    pytest --benchmark-only bench/test_epoch.py -k "784-128-10 and not JAX and not CUDA"
    pytest --benchmark-only bench/test_epoch.py -k conv --bench-malloc=settled
    pytest --benchmark-only bench/test_layers.py -k "Conv2d and not JAX"

Options:
    --bench-images=N          images in an epoch of test_epoch.py (default: that of the network); whole
                              batches, at most 48,000 of 28 x 28, or 12,250 of 32 x 32 x 3
    --bench-rounds=N          rounds (default: 8 to 20, fewer where a round takes long)
    --bench-malloc=settled    make glibc keep freed memory, in all contestants

The unit of time is an epoch of `fit`, with the data on the device and without validation. An epoch here has
5,000 to 20,000 images, or 10 to 50 steps of a convolutional network; the table scales its time to 48,000
images. Epochs are taken in turn from as many images as fill 150 MB.

In each round every contestant trains one epoch, in a random order, in a process of its own, after a warm-up.
Each epoch ends with a wait for the device. Compare by the ratio to PyTorch, to JAX or to the limit within a
round: the table has its median over the rounds and its quartiles. Where a library has two ways, the faster
one is the reference: PyTorch with images in either memory format, JAX with a jitted step or with all steps of
an epoch in one `lax.scan`. The limit is the step's matrix products alone, those of a convolution with the
matrix of all windows; a transform that needs fewer multiplications can be below it.

On a GPU all contestants run twice, in float32 and with TF32 products, and are compared with those of the same
precision. There the table also has the share of peak: the operations of the step's products, by its time and
by the peak of the data sheet. `peaks` lists some GPUs.

Thread counts are the libraries' defaults, all cores; the environment (OPENBLAS_NUM_THREADS, OMP_NUM_THREADS)
reaches the contestants. Leave the machine alone during a measurement: where another program takes a core,
threads that wait for each other slow down tenfold. Quartiles that are far apart are a sign of that.

Convolutional networks allocate much memory, and the number of page faults differs from process to process:
compare them with --bench-malloc=settled.

Networks and data: `workloads`. Contestants: `contestants`. Layers: `layer_contestants`. The scaling figure:
`points`. A contestant that cannot run here, or not with a network, is left out, and the table says why.
(`torch.compile` needs a C++ compiler.)
"""
