// Torch, c10d and Gloo throw; nothing of it leaves this folder.
#ifndef BERT_WORKER_COLLECTIVE_EXCEPTIONS_H_
#define BERT_WORKER_COLLECTIVE_EXCEPTIONS_H_

#include <c10/util/Exception.h>

#include <exception>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace bert::collective {

// Without the stack that c10 puts behind a message.
inline std::string FirstLine(absl::string_view message) { return std::string(message.substr(0, message.find('\n'))); }

// Calls `body`; an exception becomes `code` "<what>: <the exception's first line>".
template <typename Body>
absl::Status CatchExceptions(absl::StatusCode code, absl::string_view what, Body body) {
  try {
    body();
    return absl::OkStatus();
  } catch (const c10::Error& error) {
    return absl::Status(code, absl::StrCat(what, ": ", FirstLine(error.what_without_backtrace())));
  } catch (const std::exception& error) {
    return absl::Status(code, absl::StrCat(what, ": ", FirstLine(error.what())));
  }
}

// An exception becomes UNAVAILABLE: for what fails because another rank is gone.
template <typename Body>
absl::Status CatchPeerLost(absl::string_view what, Body body) {
  return CatchExceptions(absl::StatusCode::kUnavailable, what, body);
}

}  // namespace bert::collective

#endif  // BERT_WORKER_COLLECTIVE_EXCEPTIONS_H_
