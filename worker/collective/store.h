// The key-value store through which the ranks of a generation find one another.
#ifndef BERT_WORKER_COLLECTIVE_STORE_H_
#define BERT_WORKER_COLLECTIVE_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace bert::collective {

// Rank 0's side: serves from Start until destruction, in a thread of its own, on `address` only.
class Store {
 public:
  // On a free port of `address` (an IP address or host name of this machine). FAILED_PRECONDITION with the system's
  // words: nothing can listen there. It is this rank's own fault, so never UNAVAILABLE.
  static absl::StatusOr<std::unique_ptr<Store>> Start(const std::string& address);
  ~Store();

  // "host:port"; an IPv6 host in brackets.
  const std::string& address() const { return address_; }

 private:
  struct Impl;
  Store(std::unique_ptr<Impl> impl, std::string address);

  std::unique_ptr<Impl> impl_;
  std::string address_;
};

}  // namespace bert::collective

#endif  // BERT_WORKER_COLLECTIVE_STORE_H_
