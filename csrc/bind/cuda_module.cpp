// subkern._CUDA: addresses, sizes and a stream in, kernels out. Knows no tensor library and no
// CUDA header: tests build it on the emulator, under another name.
#include "cuda_bindings.h"

#if !defined(SUBKERN_CUDA_MODULE)
#define SUBKERN_CUDA_MODULE _CUDA
#endif

PYBIND11_MODULE(SUBKERN_CUDA_MODULE, m) {
  m.doc() = "Native CUDA kernels of subkern. Addresses are unsigned integers, sizes in elements.";
  m.attr("emulated") = subkern::cuda_is_emulated();
  m.def("device_count", &subkern::cuda_device_count, "CUDA devices; zero without a driver.");
  m.def("call_counts", &subkern::LaunchCounter::counts, "How often each kernel was launched.");
  subkern::bind_cuda_adam(m);
  subkern::bind_cuda_cg_step(m);
  subkern::bind_cuda_combine(m);
  subkern::bind_cuda_eigh_small(m);
  subkern::bind_cuda_group_dot(m);
  subkern::bind_cuda_kth_largest(m);
  subkern::bind_cuda_lowrank_adam(m);
  subkern::bind_cuda_orthonormalize(m);
  subkern::bind_cuda_packed_adamw(m);
  subkern::bind_cuda_sample_without_replacement(m);
  subkern::bind_cuda_scan(m);
  subkern::bind_cuda_sense_normal(m);
  subkern::bind_cuda_sst_adamw(m);
  subkern::bind_cuda_svd_small(m);
  subkern::bind_cuda_update_mask(m);
}
