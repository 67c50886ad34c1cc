// For tests: what a process does at its n-th call that changes files.
#ifndef BERT_DATALOADER_CORPUS_FILE_CALL_FAULTS_H_
#define BERT_DATALOADER_CORPUS_FILE_CALL_FAULTS_H_

#include <cstdint>

namespace bert::corpus {

// Links with --wrap for each call it stands before, so that it sees those of this project's objects. Calls of fsync(2)
// are counted and not made: a killed process loses nothing that it has written.
enum class FileCallFault {
  kNone,
  // SIGKILL before the call; a write has then written half.
  kKill,
  // That call and all after it fail as on a full disk; what only frees space still works.
  kDiskFull,
};

// From here on, `at` counting from 1.
void InjectAtFileCall(int64_t at, FileCallFault fault);

// Since then.
int64_t FileCalls();

}  // namespace bert::corpus

#endif  // BERT_DATALOADER_CORPUS_FILE_CALL_FAULTS_H_
