// Launches Adam for a list of tensors: as many at once as the kernel arguments hold.
#include <algorithm>

#include "adam.cuh"
#include "launch.h"
#include "subkern/cuda/adam.h"

namespace subkern {

namespace {

// Numbers the blocks of a launch: tensor t has blocks(t) of them. Returns their count.
template <class Blocks>
int32_t number_blocks(AdamArguments& a, const Blocks& blocks) {
  int64_t total = 0;
  for (int t = 0; t < a.count; ++t) {
    a.first[t] = static_cast<int32_t>(total);
    total += blocks(t);
  }
  a.first[a.count] = static_cast<int32_t>(total);
  return a.first[a.count];
}

int64_t most_flags(int64_t count, const int64_t* numel) {
  int64_t most = 0;
  for (int64_t t = 0; t < count; ++t) most = std::max(most, scan_chunks(numel[t]));
  return most;
}

template <class T>
int launch(AdamArguments& a, void* stream, int64_t launches[2]) {
  const bool check = a.scalars.check_finite;
  const int32_t scans =
      number_blocks(a, [&](int t) { return check ? scan_chunks(a.numel[t]) : 1; });
  SK_LAUNCH(adam_scan_kernel<T>, scans, kAdamThreads, 0, stream, a);
  if (const int status = launch_status()) return status;
  ++launches[0];
  const int32_t chunks = number_blocks(a, [&](int t) { return adam_chunks(a.numel[t]); });
  SK_LAUNCH(adam_apply_kernel<T>, chunks, kAdamThreads, 0, stream, a);
  if (const int status = launch_status()) return status;
  ++launches[1];
  return 0;
}

}  // namespace

int cuda_adam_tensors_per_launch() { return kAdamTensors; }

int64_t cuda_adam_workspace(int64_t count, const int64_t* numel) {
  return (std::min<int64_t>(count, kAdamTensors) * (1 + most_flags(count, numel))) *
         static_cast<int64_t>(sizeof(int32_t));
}

int cuda_adam(const AdamList& list, const CudaAdamOptions& options, void* scratch,
              const CudaQueue& queue, int64_t launches[2]) {
  const DeviceScope scope(queue.device);
  if (scope.status() != 0) return scope.status();
  AdamArguments a{};
  a.scalars = scalars_of(options);
  a.flag_stride = static_cast<int32_t>(most_flags(list.count, list.numel));
  a.counters = static_cast<int32_t*>(scratch);
  a.flags = a.counters + std::min<int64_t>(list.count, kAdamTensors);
  for (int64_t begin = 0; begin < list.count; begin += kAdamTensors) {
    a.count = static_cast<int32_t>(std::min<int64_t>(list.count - begin, kAdamTensors));
    std::copy_n(list.W + begin, a.count, a.W);
    std::copy_n(list.G + begin, a.count, a.G);
    std::copy_n(list.exp_avg + begin, a.count, a.exp_avg);
    std::copy_n(list.exp_avg_sq + begin, a.count, a.exp_avg_sq);
    std::copy_n(list.step + begin, a.count, a.step);
    std::copy_n(list.skipped + begin, a.count, a.skipped);
    std::copy_n(list.numel + begin, a.count, a.numel);
    const int status = list.dtype == kBFloat16 ? launch<bf16>(a, queue.stream, launches)
                                               : launch<float>(a, queue.stream, launches);
    if (status != 0) return status;
  }
  return 0;
}

}  // namespace subkern
