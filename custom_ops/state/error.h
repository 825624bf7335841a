// A failure that a user reads: what happened, and what to do about it. Thrown inside the library; api/adapter.h turns
// it into an OrtStatus, so none crosses the C ABI.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace rrm {

class Error : public std::exception {
 public:
  explicit Error(std::string message, const std::string& hint = {})
      : message_(std::move(message)), full_(hint.empty() ? message_ : message_ + "\nhint: " + hint) {}
  const char* what() const noexcept override { return message_.c_str(); }
  // With the hint on a line of its own.
  const char* full() const noexcept { return full_.c_str(); }

 private:
  std::string message_;
  std::string full_;
};

}  // namespace rrm
