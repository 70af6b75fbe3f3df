// What the probes share: functions that tests call, and errors as text, since C has no exceptions.
#pragma once

#include <exception>
#include <string>

#include "cuda_emu.h"

#define PROBE extern "C" __attribute__((visibility("default")))

// The error of a launch, or null; valid until the next one of the same OS thread.
template <class Launch>
const char* error_of(Launch&& launch) {
  static thread_local std::string text;
  try {
    launch();
    return nullptr;
  } catch (const std::exception& error) {
    text = error.what();
    return text.c_str();
  }
}
