// What subkern._CUDA is put together from: as bindings.h, and a status and a queue for every call.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "checks.h"
#include "counter.h"
#include "subkern/cuda/types.h"

namespace subkern {

namespace py = pybind11;

void check_status(const char* op, int status);
CudaQueue to_queue(const Check& check, int device, Address stream);

void bind_cuda_adam(py::module_& m);
void bind_cuda_cg_step(py::module_& m);
void bind_cuda_combine(py::module_& m);
void bind_cuda_eigh_small(py::module_& m);
void bind_cuda_group_dot(py::module_& m);
void bind_cuda_kth_largest(py::module_& m);
void bind_cuda_lowrank_adam(py::module_& m);
void bind_cuda_orthonormalize(py::module_& m);
void bind_cuda_packed_adamw(py::module_& m);
void bind_cuda_sample_without_replacement(py::module_& m);
void bind_cuda_scan(py::module_& m);
void bind_cuda_sense_normal(py::module_& m);
void bind_cuda_sst_adamw(py::module_& m);
void bind_cuda_svd_small(py::module_& m);
void bind_cuda_update_mask(py::module_& m);

}  // namespace subkern
