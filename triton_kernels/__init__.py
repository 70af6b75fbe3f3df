"""Triton kernels of subkern. Installed and imported only as `subkern.triton_kernels`.

The folder sits at the top of the repository, so an interpreter started there would find it under
its bare name, which belongs to other projects. That import is refused.
"""

if __name__ != "subkern.triton_kernels":
    raise ImportError(
        f"{__name__}: this folder must be imported as subkern.triton_kernels; "
        "the bare name belongs to other packages"
    )
