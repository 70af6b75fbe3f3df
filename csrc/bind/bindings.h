// What a module is put together from: a function per op, in a file of the op's name, and counters.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "counter.h"

namespace subkern {

namespace py = pybind11;

void bind_adam(py::module_& m);
void bind_cg_step(py::module_& m);
void bind_combine(py::module_& m);
void bind_eigh_small(py::module_& m);
void bind_gram(py::module_& m);
void bind_group_dot(py::module_& m);
void bind_kth_largest(py::module_& m);
void bind_lowrank_adam(py::module_& m);
void bind_orthonormalize(py::module_& m);
void bind_packed_adamw(py::module_& m);
void bind_plans(py::module_& m);
void bind_sample_without_replacement(py::module_& m);
void bind_scan(py::module_& m);
void bind_sense_normal(py::module_& m);
void bind_sst_adamw(py::module_& m);
void bind_svd_small(py::module_& m);
void bind_update_mask(py::module_& m);

}  // namespace subkern
