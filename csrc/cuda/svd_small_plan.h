// The launch of svd_small: the kernel for the size, on the matrix or on its transpose.
#pragma once

#include <algorithm>

#include "launch_plan.h"
#include "subkern/cuda/small_launch.h"
#include "subkern/cuda/svd_small.h"

namespace subkern {

template <class T, int N>
struct SvdSmallKernel {
  static constexpr const char* kHeader = "svd_small.cuh";
  static std::string name() {
    return "svd_small_kernel<" + std::string(kElementName<T>) + ", " + std::to_string(N) + ">";
  }
};

template <class T>
struct SvdSmallBlockKernel {
  static constexpr const char* kHeader = "svd_small_block.cuh";
  static std::string name() {
    return "svd_small_block_kernel<" + std::string(kElementName<T>) + ">";
  }
};

template <class T, class Launch>
int plan_svd_small_of(const CudaSvdSmall& call, const Launch& launch) {
  const bool transposed = call.m < call.n;
  const int64_t rows = std::max(call.m, call.n), cols = std::min(call.m, call.n);
  const SmallLaunch how = small_launch(call.batch, rows);
  const auto run = [&](auto kernel) {
    return launch({how.blocks, 1, how.threads, 0}, kernel, static_cast<const T*>(call.A),
                  call.batch_stride, transposed ? call.col_stride : call.row_stride,
                  transposed ? call.row_stride : call.col_stride, transposed ? call.Vh : call.U,
                  call.S, transposed ? call.U : call.Vh, call.info, call.batch,
                  static_cast<int32_t>(rows), static_cast<int32_t>(cols),
                  static_cast<int32_t>(transposed));
  };
  if (how.columns == 8) return run(SvdSmallKernel<T, 8>());
  if (how.columns == 16) return run(SvdSmallKernel<T, 16>());
  if (how.columns == 32) return run(SvdSmallKernel<T, 32>());
  return run(SvdSmallBlockKernel<T>());
}

template <class Launch>
int plan_svd_small(const CudaSvdSmall& call, const Launch& launch) {
  if (call.batch == 0 || call.m == 0 || call.n == 0) return 0;
  return call.dtype == kBFloat16 ? plan_svd_small_of<bf16>(call, launch)
                                 : plan_svd_small_of<float>(call, launch);
}

}  // namespace subkern
