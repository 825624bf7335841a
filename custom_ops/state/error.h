// A failure that a user reads: what happened, and what to do about it. Thrown inside the library; api/adapter.h turns
// it into an OrtStatus, so none crosses the C ABI.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace rrm {

class Error : public std::exception {
 public:
  explicit Error(std::string message, std::string hint = {}) : message_(std::move(message)), hint_(std::move(hint)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  const std::string& hint() const noexcept { return hint_; }

 private:
  std::string message_;
  std::string hint_;
};

}  // namespace rrm
