// The one place where true randomness enters: ids, incarnations, seeds of generators.
#ifndef BERT_COMMON_ENTROPY_H_
#define BERT_COMMON_ENTROPY_H_

#include <cstdint>
#include <string>

namespace bert {

// From the operating system.
uint64_t RandomSeed();

// `length` random characters of a-z and 2-7 (5 bits each).
std::string RandomToken(int length);

}  // namespace bert

#endif  // BERT_COMMON_ENTROPY_H_
