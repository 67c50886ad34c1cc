// Invariants that stay on in release builds: a broken one stops the process.
#ifndef BERT_COMMON_CHECK_H_
#define BERT_COMMON_CHECK_H_

#include <sstream>

namespace bert {

// Prints the message to stderr and aborts when it goes out of scope. Used through BERT_CHECK only.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;

  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace bert

// BERT_CHECK(rank < world_size) << "rank " << rank;
#define BERT_CHECK(condition) \
  while (!(condition)) ::bert::CheckFailure(__FILE__, __LINE__, #condition).stream()

#endif  // BERT_COMMON_CHECK_H_
