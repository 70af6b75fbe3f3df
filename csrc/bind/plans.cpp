// subkern._C.plans: functions of subkern._CUDA that note their launches down in
// place of launching, so that whoever compiles the kernels at run time computes none of it again.
#include "../cuda/cg_step_plan.h"
#include "../cuda/combine_plan.h"
#include "../cuda/eigh_small_plan.h"
#include "../cuda/group_dot_plan.h"
#include "../cuda/kth_largest_plan.h"
#include "../cuda/orthonormalize_plan.h"
#include "../cuda/packed_adamw_plan.h"
#include "../cuda/sample_without_replacement_plan.h"
#include "../cuda/scan_plan.h"
#include "../cuda/sense_plan.h"
#include "../cuda/sst_adamw_plan.h"
#include "../cuda/svd_small_plan.h"
#include "../cuda/update_mask_plan.h"
#include "bindings.h"
#include "cuda_bindings.h"

namespace subkern {
namespace {

struct PlannedLaunch {
  std::string header, kernel;  // the file that defines it, and a name expression
  LaunchShape shape;
  std::vector<std::string> arguments;  // bytes of each
};

// Stands in for the stream: calls that are given its address add to it.
struct Launches {
  std::vector<PlannedLaunch> list;
};

class Recorder {
 public:
  Recorder(const CudaQueue& queue, std::int64_t* launches)
      : to_(*static_cast<Launches*>(queue.stream)), launches_(launches) {}

  template <class Kernel, class... Arguments>
  int operator()(const LaunchShape& shape, Kernel, const Arguments&... arguments) const {
    to_.list.push_back(
        {Kernel::kHeader,
         "subkern::" + Kernel::name(),
         shape,
         {std::string(reinterpret_cast<const char*>(&arguments), sizeof arguments)...}});
    ++*launches_;
    return 0;
  }

 private:
  Launches& to_;
  std::int64_t* launches_;
};

}  // namespace

const char* cuda_status_text(int) { return "no error"; }

// Taller ones are composed.
bool cuda_svd_small_fits(int64_t m, int64_t n, int) { return std::max(m, n) <= kMostSmall; }

int cuda_svd_small(const CudaSvdSmall& call, const CudaQueue& queue, int64_t* launches) {
  return plan_svd_small(call, Recorder(queue, launches));
}

int64_t cuda_cg_step_workspace(int64_t groups, int64_t n) { return group_sums_bytes(groups, n); }

int cuda_cg_step_residual(const CudaCgResidual& call, const CudaQueue& queue, int64_t* launches) {
  return plan_cg_step_residual(call, Recorder(queue, launches));
}

int cuda_cg_step_direction(const CudaCgDirection& call, const CudaQueue& queue, int64_t* launches) {
  return plan_cg_step_direction(call, Recorder(queue, launches));
}

int cuda_combine(const CudaCombine& call, const CudaQueue& queue, int64_t* launches) {
  return plan_combine(call, Recorder(queue, launches));
}

int cuda_eigh_small(const CudaEighSmall& call, const CudaQueue& queue, int64_t* launches) {
  return plan_eigh_small(call, Recorder(queue, launches));
}

int64_t cuda_group_dot_workspace(int64_t groups, int64_t n) { return group_sums_bytes(groups, n); }

int cuda_group_dot(const CudaGroupDot& call, const CudaQueue& queue, int64_t* launches) {
  return plan_group_dot(call, Recorder(queue, launches));
}

int64_t cuda_kth_largest_workspace() { return select_bytes(1); }

int cuda_kth_largest(const CudaKthLargest& call, const CudaQueue& queue, int64_t* launches) {
  return plan_kth_largest(call, Recorder(queue, launches));
}

// A device is known by the bytes of shared memory that a block of it can have.
int64_t cuda_orthonormalize_workspace(int64_t count, int64_t rows, int64_t cols, int device) {
  return fits_whole(rows, cols, device) ? 0 : split_workspace(count, rows, cols);
}

int cuda_orthonormalize(const CudaOrthonormalize& call, const CudaQueue& queue,
                        int64_t launches[2]) {
  if (call.Y.count == 0) return 0;
  const bool whole = fits_whole(call.Y.rows, call.Y.cols, queue.device);
  const Recorder record(queue, whole ? launches : launches + 1);
  return with_columns(call.Y.cols, [&](auto columns) {
    return whole ? plan_whole<columns.kMost>(call, record)
                 : plan_split<columns.kMost>(call, record);
  });
}

int cuda_orthonormalize_repair(const CudaRepair& call, const CudaQueue& queue, int64_t* launches) {
  return plan_repair(call, Recorder(queue, launches));
}

int cuda_orthonormalize_cholesky(const CudaCholesky& call, const CudaQueue& queue,
                                 int64_t* launches) {
  return plan_cholesky(call, Recorder(queue, launches));
}

int cuda_packed_adamw(const CudaPacked& call, const CudaPackedOptions& options,
                      const CudaQueue& queue, int64_t* launches) {
  return plan_packed_adamw(call, options, Recorder(queue, launches));
}

int64_t cuda_sample_workspace(int64_t count, int64_t n, int64_t k, bool sorted) {
  return plan_sample_workspace(count, n, k, sorted);
}

int cuda_sample(const CudaSample& call, const CudaQueue& queue, int64_t* launches) {
  return plan_sample(call, Recorder(queue, launches));
}

int64_t cuda_scan_workspace(int64_t count, int64_t n) { return plan_scan_workspace(count, n); }

int cuda_scan(const CudaScan& call, const CudaQueue& queue, int64_t* launches) {
  return plan_scan(call, Recorder(queue, launches));
}

int64_t cuda_sense_pack_floats(bool line, int64_t weight_sets, int64_t h, int64_t w) {
  return SensePacked(line, weight_sets, h, w).floats;
}

void cuda_sense_pack(bool line, int64_t weight_sets, int64_t h, int64_t w, const float* weights,
                     float* packed) {
  plan_sense_pack(line, weight_sets, h, w, weights, packed);
}

int64_t cuda_sense_workspace(const CudaSenseMaps& S) { return plan_sense_workspace(S); }

// A device is known by its shared memory, as above.
int cuda_sense_normal(const CudaSenseNormal& call, const CudaQueue& queue, int64_t* launches) {
  return plan_sense_normal(call, queue.device, Recorder(queue, launches));
}

int cuda_sense_solve(const CudaSenseSolve& call, const CudaQueue& queue, int64_t* launches) {
  return plan_sense_solve(call, queue.device, Recorder(queue, launches));
}

int cuda_sst_adamw(const CudaSst& call, const CudaSstOptions& options, const CudaQueue& queue,
                   int64_t* launches) {
  return plan_sst(call, options, Recorder(queue, launches));
}

int64_t cuda_update_mask_workspace(int64_t n) { return plan_update_mask_workspace(n); }

int cuda_update_mask(const CudaUpdateMask& call, const CudaQueue& queue, int64_t* launches) {
  return plan_update_mask(call, Recorder(queue, launches));
}

void bind_plans(py::module_& m) {
  py::module_ plans = m.def_submodule(
      "plans",
      "Functions of subkern._CUDA that note their launches down. `stream` is the address of a "
      "Launches, `device` the bytes of shared memory that a block of the device can have.");
  py::class_<Launches>(plans, "Launches", "What calls planned, in order.")
      .def(py::init<>())
      .def_property_readonly(
          "address", [](const Launches& self) { return reinterpret_cast<std::uintptr_t>(&self); })
      .def(
          "take",
          [](Launches& self) {
            py::list taken;
            for (const PlannedLaunch& launch : self.list) {
              py::list arguments;
              for (const std::string& bytes : launch.arguments) arguments.append(py::bytes(bytes));
              const LaunchShape& shape = launch.shape;
              taken.append(py::make_tuple(launch.header, launch.kernel,
                                          py::make_tuple(shape.x, shape.y), shape.threads,
                                          shape.shared, arguments));
            }
            self.list.clear();
            return taken;
          },
          "Tuples of header, kernel, grid, threads, shared bytes and arguments as bytes; "
          "forgotten.");
  plans.def("call_counts", &LaunchCounter::counts, "How often each kernel was planned.");
  bind_cuda_cg_step(plans);
  bind_cuda_combine(plans);
  bind_cuda_eigh_small(plans);
  bind_cuda_group_dot(plans);
  bind_cuda_kth_largest(plans);
  bind_cuda_orthonormalize(plans);
  bind_cuda_packed_adamw(plans);
  bind_cuda_sample_without_replacement(plans);
  bind_cuda_scan(plans);
  bind_cuda_sense_normal(plans);
  bind_cuda_sst_adamw(plans);
  bind_cuda_svd_small(plans);
  bind_cuda_update_mask(plans);
}

}  // namespace subkern
