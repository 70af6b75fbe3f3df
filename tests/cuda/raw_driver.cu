// Kernels by name, as a module compiled at run time offers them: arguments come as bytes.
#include <string>
#include <type_traits>
#include <utility>

#include "cg_step.cuh"
#include "combine.cuh"
#include "eigh_small.cuh"
#include "group_dot.cuh"
#include "kth_largest.cuh"
#include "orthonormalize.cuh"
#include "orthonormalize_rows.cuh"
#include "orthonormalize_split.cuh"
#include "packed_adamw.cuh"
#include "sample_without_replacement.cuh"
#include "sense_normal.cuh"
#include "sense_solve.cuh"
#include "sst_adamw.cuh"
#include "svd_small.cuh"
#include "svd_small_block.cuh"
#include "update_mask.cuh"

namespace {

struct Call {
  unsigned x, y, threads;
  int64_t shared;
  int count;
  const int64_t* sizes;
  const void* const* arguments;
};

template <class... P, size_t... I>
const char* run(void (*kernel)(P...), const Call& call, std::index_sequence<I...>) {
  if (call.count != sizeof...(P)) return "another number of parameters";
  if (((call.sizes[I] != static_cast<int64_t>(sizeof(P))) || ...)) return "another size";
  SK_LAUNCH(kernel, dim3(call.x, call.y), call.threads, static_cast<size_t>(call.shared), nullptr,
            *static_cast<const P*>(call.arguments[I])...);
  return nullptr;
}

template <class... P>
const char* run(void (*kernel)(P...), const Call& call) {
  return run(kernel, call, std::index_sequence_for<P...>());
}

}  // namespace

#define KERNEL(...) \
  if (wanted == "subkern::" #__VA_ARGS__) return run(&subkern::__VA_ARGS__, call)

// Null, or what is wrong.
extern "C" __attribute__((visibility("default"))) const char* raw_launch(const char* name,
                                                                         const Call* given) {
  const std::string wanted = name;
  const Call& call = *given;
  KERNEL(cg_step_direction_kernel);
  KERNEL(cg_step_residual_kernel);
  KERNEL(combine_kernel);
  KERNEL(eigh_small_kernel<float, 8>);
  KERNEL(group_dot_kernel);
  KERNEL(packed_adamw_kernel<float, true>);
  KERNEL(sample_kernel<float>);
  KERNEL(select_kernel<float, false>);
  KERNEL(select_kernel<float, true>);
  KERNEL(sense_columns_kernel);
  KERNEL(sense_gather_kernel);
  KERNEL(sense_line_kernel);
  KERNEL(sense_rows_kernel);
  KERNEL(sense_solve_kernel<true>);
  KERNEL(sst_adamw_kernel<float, true>);
  KERNEL(svd_small_kernel<float, 8>);
  KERNEL(swap_count_kernel<float>);
  KERNEL(swap_kernel<float>);
  KERNEL(svd_small_block_kernel<float>);
  KERNEL(orthonormalize_kernel<8>);
  KERNEL(orthonormalize_slice_kernel<8>);
  KERNEL(orthonormalize_factor_kernel<8>);
  KERNEL(orthonormalize_finish_kernel<8>);
  KERNEL(orthonormalize_repair_kernel);
  KERNEL(orthonormalize_cholesky_kernel);
  return "no such kernel";
}
