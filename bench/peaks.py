"""Peak rates of GPUs, from their data sheets."""

# TFLOP/s of dense products, in float32 and with TF32 inputs (NVIDIA's data sheets often quote twice the TF32
# number, which is for matrices with half of the entries zero). Where one name begins with another, the longer
# one stands first.
TFLOPS = {
    "NVIDIA H200 NVL": {"float32": 60, "tf32": 417},
    "NVIDIA H200": {"float32": 67, "tf32": 495},
    "NVIDIA H100 NVL": {"float32": 60, "tf32": 417},
    "NVIDIA H100 PCIe": {"float32": 51, "tf32": 378},
    "NVIDIA H100": {"float32": 67, "tf32": 495},
    "NVIDIA A100": {"float32": 19.5, "tf32": 156},
    "NVIDIA L40S": {"float32": 91.6, "tf32": 183},
    "NVIDIA L4": {"float32": 30.3, "tf32": 60},
    "Tesla V100-SXM2": {"float32": 15.7},
    "Tesla T4": {"float32": 8.1},
}


def peak(gpu: str, precision: str) -> float | None:
    """The peak floating-point operations per second of a GPU; None where the table lacks it.

    Arguments:
        gpu: its name in the driver, "NVIDIA H200" or "NVIDIA A100-SXM4-80GB".
        precision: "float32" or "tf32".
    """
    for name, tflops in TFLOPS.items():
        if gpu == name or gpu.startswith((name + " ", name + "-")):
            return 1e12 * tflops[precision] if precision in tflops else None
    return None
