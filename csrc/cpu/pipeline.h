// Stages of independent blocks, run by several threads without barriers. Used by dispatch.cpp only.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace subkern {

// Blocks are handed out in the order the stages were added. A stage may wait for an earlier one;
// put other work between the two, and threads seldom have to.
class Pipeline {
 public:
  static constexpr int kNothing = -1;

  // Adds `blocks` calls run(block) that start once stage `after` is complete; the thread that ends
  // the stage calls finish() first. A stage without blocks still finishes. Returns its number.
  int add(int64_t blocks, int after, std::function<void(int64_t)> run,
          std::function<void()> finish = {}) {
    const int64_t tickets = std::max<int64_t>(1, blocks);
    const int64_t begin = ends_.empty() ? 0 : ends_.back();
    ends_.push_back(begin + tickets);
    stages_.emplace_back(begin, blocks, tickets, after, std::move(run), std::move(finish));
    return static_cast<int>(stages_.size()) - 1;
  }

  // Takes blocks until none are left; every thread of the team calls it.
  void work() {
    const int64_t total = ends_.empty() ? 0 : ends_.back();
    for (int64_t ticket = next_++; ticket < total; ticket = next_++) {
      const auto end = std::upper_bound(ends_.begin(), ends_.end(), ticket);
      Stage& stage = stages_[end - ends_.begin()];
      // Whoever holds the missing blocks is running them: tickets go out in order.
      while (stage.after != kNothing && !stages_[stage.after].complete.load()) {
        std::this_thread::yield();
      }
      const int64_t block = ticket - stage.begin;
      if (block < stage.blocks) stage.run(block);
      if (--stage.left == 0) {
        if (stage.finish) stage.finish();
        stage.complete.store(true);
      }
    }
  }

 private:
  struct Stage {
    Stage(int64_t begin_, int64_t blocks_, int64_t tickets, int after_,
          std::function<void(int64_t)> run_, std::function<void()> finish_)
        : begin(begin_),
          blocks(blocks_),
          after(after_),
          run(std::move(run_)),
          finish(std::move(finish_)),
          left(tickets) {}
    const int64_t begin, blocks;
    const int after;
    const std::function<void(int64_t)> run;
    const std::function<void()> finish;
    std::atomic<int64_t> left;
    std::atomic<bool> complete{false};
  };

  std::deque<Stage> stages_;  // a deque: the counters cannot move
  std::vector<int64_t> ends_;
  std::atomic<int64_t> next_{0};
};

}  // namespace subkern
