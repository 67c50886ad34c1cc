#include "worker/agent/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "worker/agent/trainer_exec.h"

namespace bert::agent {
namespace {

using ::testing::HasSubstr;

constexpr int kTimeoutMs = 20'000;

std::unique_ptr<Process> Shell(const std::string& script, const std::vector<std::string>& environment = {}) {
  auto process = Process::Spawn({.argv = {"/bin/sh", "-c", script}, .environment = EnvironmentWith(environment)});
  EXPECT_TRUE(process.ok()) << process.status();
  return *std::move(process);
}

bool IsReadable(int fd) {
  pollfd poll_fd = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&poll_fd, 1, kTimeoutMs) == 1;
}

// Until the pipe has no writer, or `text` has come.
std::string ReadUntil(int fd, const std::string& text) {
  std::string output;
  while (output.find(text) == std::string::npos && IsReadable(fd)) {
    char buffer[4096];
    const ssize_t count = read(fd, buffer, sizeof buffer);
    if (count <= 0) break;
    output.append(buffer, static_cast<size_t>(count));
  }
  return output;
}

ExitStatus WaitForExit(Process& process) {
  EXPECT_TRUE(IsReadable(process.exit_fd()));
  const auto status = process.TryReap();
  EXPECT_TRUE(status.has_value());
  return status.value_or(ExitStatus{});
}

TEST(ProcessTest, ReportsTheExitCode) {
  EXPECT_EQ(WaitForExit(*Shell("exit 0")).ToString(), "exit code 0");
  EXPECT_EQ(WaitForExit(*Shell("exit 7")).ToString(), "exit code 7");
}

TEST(ProcessTest, ReportsTheSignal) {
  const auto process = Shell("kill -SEGV $$");
  const ExitStatus status = WaitForExit(*process);
  EXPECT_EQ(status.signal, SIGSEGV);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.ToString(), HasSubstr("signal 11 (Segmentation fault)"));
}

TEST(ProcessTest, IsNotReapedWhileItRuns) {
  const auto process = Shell("exec sleep 1000");
  EXPECT_FALSE(process->TryReap().has_value());
  process->Signal(SIGTERM);
  EXPECT_EQ(WaitForExit(*process).signal, SIGTERM);
  // Again and again the same.
  EXPECT_EQ(process->TryReap()->signal, SIGTERM);
}

TEST(ProcessTest, JoinsStdoutAndStderrInOrder) {
  const auto process = Shell("echo one; echo two >&2; echo three; cat");
  EXPECT_EQ(ReadUntil(process->output_fd(), "three\n"), "one\ntwo\nthree\n");
  // cat has ended: stdin is /dev/null.
  EXPECT_TRUE(WaitForExit(*process).ok());
}

TEST(ProcessTest, GivesTheEnvironment) {
  const auto process = Shell("echo $BERT_TEST_A-$BERT_TEST_B-${HOME:+home}", {"BERT_TEST_A=1", "BERT_TEST_B=x=y"});
  EXPECT_EQ(ReadUntil(process->output_fd(), "\n"), "1-x=y-home\n");
}

TEST(ProcessTest, StartsWithAnEmptySignalMask) {
  sigset_t blocked, former;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &former), 0);
  const auto process = Shell("exec sleep 1000");
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &former, nullptr), 0);
  process->Signal(SIGTERM);
  EXPECT_EQ(WaitForExit(*process).signal, SIGTERM);
}

TEST(ProcessTest, OneThatIgnoresTermDiesOfKill) {
  const auto process = Shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
  ReadUntil(process->output_fd(), "ready\n");
  process->Signal(SIGTERM);
  EXPECT_FALSE(process->TryReap().has_value());
  process->Signal(SIGKILL);
  EXPECT_EQ(WaitForExit(*process).signal, SIGKILL);
}

TEST(ProcessTest, ReapingKillsTheRestOfTheGroup) {
  const auto process = Shell("sleep 1000 & echo $!");
  const std::string output = ReadUntil(process->output_fd(), "\n");
  EXPECT_TRUE(WaitForExit(*process).ok());
  // The background process held the pipe open; it ends with the group.
  EXPECT_EQ(ReadUntil(process->output_fd(), "never"), "") << output;
  char byte;
  EXPECT_EQ(read(process->output_fd(), &byte, 1), 0);
}

TEST(ProcessTest, DestroyingItKillsIt) {
  auto process = Shell("exec sleep 1000");
  const pid_t pid = process->pid();
  process.reset();
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ProcessTest, NamesAProgramThatIsNotThere) {
  const auto process = Process::Spawn({.argv = {"/nonexistent/trainer"}, .environment = {}});
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(process.status().message()), HasSubstr("/nonexistent/trainer"));
}

std::vector<std::string> UnderExec(const std::vector<std::string>& argv) {
  return ExecTrainerCommand(BERT_WORKER_BINARY, argv);
}

TEST(TrainerExecTest, BecomesTheProgram) {
  const auto process = Process::Spawn(
      {.argv = UnderExec({"/bin/sh", "-c", "echo pid $$ $1; exit 5", "sh", "an argument"}), .environment = {}});
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(ReadUntil((*process)->output_fd(), "\n"), "pid " + std::to_string((*process)->pid()) + " an argument\n");
  EXPECT_EQ(WaitForExit(**process).exit_code, 5);
}

TEST(TrainerExecTest, SaysWhatItCannotExecute) {
  const auto process = Process::Spawn({.argv = UnderExec({"/nonexistent/trainer"}), .environment = {}});
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_THAT(ReadUntil((*process)->output_fd(), "\n"), HasSubstr("/nonexistent/trainer: No such file"));
  EXPECT_EQ(WaitForExit(**process).exit_code, 127);
}

TEST(TrainerExecTest, EndsAtOnceWhereTheParentIsGone) {
  // As if the agent had died between spawning it and its first instruction.
  const auto process = Process::Spawn(
      {.argv = {BERT_WORKER_BINARY, kExecTrainerFlag, "1", "/bin/sh", "-c", "exec sleep 1000"}, .environment = {}});
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(WaitForExit(**process).signal, SIGKILL);
}

TEST(TrainerExecTest, DiesWithAParentThatIsKilled) {
  // A shell stands for the agent: it runs the program under the exec mode and is killed with SIGKILL.
  const std::string script =
      std::string(BERT_WORKER_BINARY) + " " + kExecTrainerFlag + " $$ /bin/sh -c 'echo $$; exec sleep 1000' & wait";
  const auto process = Shell(script);
  const pid_t trainer = std::stoi(ReadUntil(process->output_fd(), "\n"));
  const int trainer_fd = static_cast<int>(syscall(SYS_pidfd_open, trainer, 0));
  ASSERT_GE(trainer_fd, 0);
  // This process alone, not its group.
  ASSERT_EQ(kill(process->pid(), SIGKILL), 0);
  EXPECT_TRUE(IsReadable(trainer_fd)) << "the trainer outlives the agent";
  close(trainer_fd);
}

}  // namespace
}  // namespace bert::agent
