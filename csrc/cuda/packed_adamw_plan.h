// The launches of AdamW on listed entries: blocks for each tensor's list.
#pragma once

#include <cmath>

#include "launch_plan.h"
#include "packed_adamw_layout.h"
#include "subkern/cuda/packed_adamw.h"

namespace subkern {

// kWide: indices are int64.
template <class T, bool kWide>
struct PackedKernel {
  static constexpr const char* kHeader = "packed_adamw.cuh";
  static std::string name() {
    return "packed_adamw_kernel<" + std::string(kElementName<T>) + (kWide ? ", true>" : ", false>");
  }
};

inline PackedScalars packed_scalars(const CudaPackedOptions& o) {
  return {o.lr_address,
          o.lr,
          o.weight_decay,
          std::log(o.beta1),
          std::log(o.beta2),
          static_cast<float>(o.beta1),
          static_cast<float>(1.0 - o.beta1),
          static_cast<float>(o.beta2),
          static_cast<float>(1.0 - o.beta2),
          static_cast<float>(o.eps)};
}

template <class T, class Launch>
int launch_packed(const PackedArguments& a, bool wide, const Launch& launch) {
  const LaunchShape shape{a.first[a.count], 1, kPackedThreads, 0};
  return wide ? launch(shape, PackedKernel<T, true>(), a)
              : launch(shape, PackedKernel<T, false>(), a);
}

template <class Launch>
int plan_packed_adamw(const CudaPacked& call, const CudaPackedOptions& options,
                      const Launch& launch) {
  PackedArguments a{};
  a.scalars = packed_scalars(options);
  const PackedList& list = call.list;
  for (int64_t p = 0; p < list.count;) {
    a.count = 0;
    a.counters = call.counters + p;
    for (; p < list.count && a.count < kPackedTensors; ++p) {
      const int i = a.count++;
      a.W[i] = list.W[p];
      a.G[i] = list.G[p];
      a.indices[i] = list.indices[p];
      a.exp_avg[i] = list.exp_avg[p];
      a.exp_avg_sq[i] = list.exp_avg_sq[p];
      a.step[i] = list.step[p];
      a.numel[i] = list.numel[p];
      a.listed[i] = list.listed[p];
      a.packed[i] = list.packed[p];
      a.per_entry[i] = list.per_entry[p];
      a.first[i + 1] = a.first[i] + static_cast<int32_t>(packed_blocks_of(list.listed[p]));
    }
    const int status = list.dtype == kBFloat16 ? launch_packed<bf16>(a, list.wide, launch)
                                               : launch_packed<float>(a, list.wide, launch);
    if (status != 0) return status;
  }
  return 0;
}

}  // namespace subkern
