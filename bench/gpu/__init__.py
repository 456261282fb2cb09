"""What an NVIDIA GPU costs and gives on CuPy: `python -m bench.gpu [--output FOLDER] [--small]`.

It prints a table in Markdown, and writes it to FOLDER/CARD.md and with all digits to FOLDER/CARD.jsonl, each
line as soon as it is measured: a run that is cut off leaves what it has found. What fails is a line with its
error, and the run goes on. Nothing is compared here; `bench/test_epoch.py` does that.

Times are medians over rounds, after a warm-up. A step's time "on the card alone" is that of its graph,
launched again and again: where the step in `fit` takes longer, Python is what takes the time. GB/s are the
bytes of an operation's arguments and results, each once, by the time of its graph. TFLOP/s are two operations
for a multiplication and an addition; `bench/peaks.py` has the peaks.

Its parts:
    bench/gpu/training.py    training steps, and what the first one costs
    bench/gpu/kernels.py     launches, calls and single operations
    bench/gpu/card.py        how time is measured, and graphs
"""
