"""The speed of training, beside other libraries and the limit that matrix products set.

    pytest --benchmark-only bench                                    everything, about an hour on 2 cores
    pytest --benchmark-only bench --benchmark-json=FILE.json         write every time of every round to a file
    python -m bench.table FILE.json                                  print the tables of that file in Markdown
    python -m bench.scaling FILE.json                                draw bench/scaling.png
    python -m bench.gpu                                              what an NVIDIA GPU costs and gives
    python -m bench.publish                                          write what stands in bench/results/
                                                                     into the documents

Its parts:
    bench/test_epoch.py      training epochs of ten networks in all libraries; about 30 minutes
    bench/test_layers.py     forward and backward pass of single layers, beside PyTorch's; 5 minutes
    bench/test_scaling.py    time and memory against width, depth, batch size and data set; 7 minutes
    bench/test_sklearn.py    `fit` of xpnet's estimators beside scikit-learn's; some minutes
    bench/test_ensembles.py  K networks at once beside K fits, `torch.func.vmap` and `jax.vmap`; some minutes

    pytest --benchmark-only bench/test_epoch.py -k "784-128-10 and not JAX and not CUDA"
    pytest --benchmark-only bench/test_layers.py -k "Conv2d and not JAX"
    pytest --benchmark-only bench/test_ensembles.py -k "NumPy and not Numba" --bench-rounds=5

Options:
    --bench-images=N          images in an epoch of test_epoch.py (default: that of the network); whole
                              batches, at most 48,000 of 28 x 28, or 12,250 of 32 x 32 x 3
    --bench-rounds=N          rounds (default: 8 to 20, fewer where a round takes long)
    --bench-malloc=default    leave glibc alone, instead of making it keep freed memory in all contestants

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

xpnet on NumPy runs twice: in NumPy's passes (XPNET_FAST=0) and with Numba, which compiles in the warm-up.

Thread counts are the libraries' defaults, all cores; the environment (OPENBLAS_NUM_THREADS, OMP_NUM_THREADS)
reaches the contestants, and where their thread counts then differ, the suite stops. Leave the machine alone
during a measurement: where another program takes a core, threads that wait for each other slow down tenfold.
Quartiles that are far apart are a sign of that.

Freed memory that glibc gives back costs page faults, and their number differs from process to process. xpnet
on NumPy has glibc keep it; the suite sets the same for all contestants.

Networks and data: `workloads`. Contestants: `contestants`. Layers: `layer_contestants`. Estimators, on
digits and on MNIST from the folder `$XPNET_DATA`: `estimators`. K networks: `ensemble_contestants`. The
scaling figure: `points`. A contestant that cannot run here, or not with a network, is left out, and the table
says why. (`torch.compile` needs a C++ compiler.)
"""
