#include "common/entropy.h"

#include <sys/random.h>

#include "common/check.h"

namespace bert {

uint64_t RandomSeed() {
  uint64_t seed = 0;
  BERT_CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

std::string RandomToken(int length) {
  static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
  std::string token;
  for (int i = 0; i < length; ++i) token += kAlphabet[RandomSeed() % 32];
  return token;
}

}  // namespace bert
