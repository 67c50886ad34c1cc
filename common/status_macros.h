// Early return on an absl::Status that is not OK.
#ifndef BERT_COMMON_STATUS_MACROS_H_
#define BERT_COMMON_STATUS_MACROS_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#define BERT_STATUS_CONCAT_INNER(a, b) a##b
#define BERT_STATUS_CONCAT(a, b) BERT_STATUS_CONCAT_INNER(a, b)

// Returns the status of `expr` from the function unless it is OK.
#define RETURN_IF_ERROR(expr)                                                       \
  do {                                                                              \
    if (::absl::Status bert_status = (expr); !bert_status.ok()) return bert_status; \
  } while (false)

// ASSIGN_OR_RETURN(auto file, Open(path)); in a function that returns Status or StatusOr.
#define ASSIGN_OR_RETURN(lhs, expr) BERT_ASSIGN_OR_RETURN_IMPL(BERT_STATUS_CONCAT(bert_status_or_, __LINE__), lhs, expr)
#define BERT_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr)    \
  auto statusor = (expr);                                  \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = std::move(statusor).value()

namespace bert {

// The same code with `context: ` in front of the message; OK stays OK.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace bert

#endif  // BERT_COMMON_STATUS_MACROS_H_
