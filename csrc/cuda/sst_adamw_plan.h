// The launches of the step of Sparse Spectral Training: a block for each row of all entries.
#pragma once

#include <algorithm>
#include <cmath>

#include "launch_plan.h"
#include "sst_adamw_layout.h"
#include "subkern/cuda/sst_adamw.h"

namespace subkern {

template <class T, bool kWaits>
struct SstKernel {
  static constexpr const char* kHeader = "sst_adamw.cuh";
  static std::string name() {
    return "sst_adamw_kernel<" + std::string(kElementName<T>) + (kWaits ? ", true>" : ", false>");
  }
};

inline SstScalars sst_scalars(const CudaSstOptions& o) {
  return {o.lr_address,
          o.lr,
          o.value_scale,
          o.vector_scale,
          o.weight_decay,
          static_cast<double>(o.warmup),
          std::log(o.beta1),
          std::log(o.beta2),
          static_cast<float>(o.beta1),
          static_cast<float>(1.0 - o.beta1),
          static_cast<float>(o.beta2),
          static_cast<float>(1.0 - o.beta2),
          static_cast<float>(o.eps),
          o.skip_nonfinite};
}

// Bytes that one row waits in, or zero where one is too long for it.
inline int64_t sst_room(const SstArguments& a) {
  const int64_t longest = *std::max_element(a.length, a.length + a.count);
  return longest <= kSstLongest ? 4 * longest : 0;
}

template <class T, class Launch>
int launch_sst(const SstArguments& a, const Launch& launch) {
  const int64_t room = sst_room(a);
  const LaunchShape shape{a.first[a.count], 1, kSstThreads, room};
  return room > 0 ? launch(shape, SstKernel<T, true>(), a)
                  : launch(shape, SstKernel<T, false>(), a);
}

template <class Launch>
int plan_sst(const CudaSst& call, const CudaSstOptions& options, const Launch& launch) {
  SstArguments a{};
  a.scalars = sst_scalars(options);
  const SstList& list = call.list;
  for (int64_t p = 0; p < list.count;) {
    a.count = 0;
    a.counters = call.counters + p;
    for (; p < list.count && a.count < kSstEntries; ++p) {
      const int i = a.count++;
      a.X[i] = list.X[p];
      a.G[i] = list.G[p];
      a.exp_avg[i] = list.exp_avg[p];
      a.exp_avg_sq[i] = list.exp_avg_sq[p];
      a.step[i] = list.step[p];
      a.skipped[i] = list.skipped[p];
      // An entry without elements has a block too, which counts its step.
      const bool any = list.rows[p] > 0 && list.length[p] > 0;
      a.table[i] = any ? list.table[p] : nullptr;
      a.sampled[i] = list.sampled[p];
      a.length[i] = any ? static_cast<int32_t>(list.length[p]) : 0;
      a.table_rows[i] = static_cast<int32_t>(call.table_rows[p]);
      a.first[i + 1] = a.first[i] + (any ? static_cast<int32_t>(list.rows[p]) : 1);
    }
    const int status =
        list.dtype == kBFloat16 ? launch_sst<bf16>(a, launch) : launch_sst<float>(a, launch);
    if (status != 0) return status;
  }
  return 0;
}

}  // namespace subkern
