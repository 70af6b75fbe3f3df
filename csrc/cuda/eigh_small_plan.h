// The launch of eigh_small: the kernel for the size.
#pragma once

#include "launch_plan.h"
#include "subkern/cuda/eigh_small.h"
#include "subkern/cuda/small_launch.h"

namespace subkern {

template <class T, int N>
struct EighSmallKernel {
  static constexpr const char* kHeader = "eigh_small.cuh";
  static std::string name() {
    return "eigh_small_kernel<" + std::string(kElementName<T>) + ", " + std::to_string(N) + ">";
  }
};

template <class T>
struct EighSmallBlockKernel {
  static constexpr const char* kHeader = "eigh_small_block.cuh";
  static std::string name() {
    return "eigh_small_block_kernel<" + std::string(kElementName<T>) + ">";
  }
};

template <class T, class Launch>
int plan_eigh_small_of(const CudaEighSmall& call, const Launch& launch) {
  const SmallLaunch how = small_launch(call.batch, call.n);
  const auto run = [&](auto kernel) {
    return launch({how.blocks, 1, how.threads, 0}, kernel, static_cast<const T*>(call.C),
                  call.batch_stride, call.row_stride, call.col_stride, call.w, call.V, call.info,
                  call.batch, static_cast<int32_t>(call.n));
  };
  if (how.columns == 8) return run(EighSmallKernel<T, 8>());
  if (how.columns == 16) return run(EighSmallKernel<T, 16>());
  if (how.columns == 32) return run(EighSmallKernel<T, 32>());
  return run(EighSmallBlockKernel<T>());
}

template <class Launch>
int plan_eigh_small(const CudaEighSmall& call, const Launch& launch) {
  if (call.batch == 0 || call.n == 0) return 0;
  return call.dtype == kBFloat16 ? plan_eigh_small_of<bf16>(call, launch)
                                 : plan_eigh_small_of<float>(call, launch);
}

}  // namespace subkern
