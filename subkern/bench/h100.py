"""What predictions assume of an H100 SXM."""

# A copy, read and written, and products; the rate of fp32 is its datasheet's, without tensor cores.
COPY_BYTES_S = 3.0e12
RATES = {"bf16": 800e12, "fp32": 67e12}
SMS = 132  # multiprocessors


def floor_s(nbytes: int, flops: int, dtype: str) -> float:
    """The roofline's time at the rates above."""
    return max(nbytes / COPY_BYTES_S, flops / RATES[dtype])
