// The program itself: what a shell sees of it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "bertctl/example_job.h"
#include "bertctl/fake_coordinator.h"
#include "common/check.h"

namespace bert::ctl {
namespace {

using testing::HasSubstr;

// A child whose two outputs come through one pipe. Its input is `input`, or this process's.
class Child {
 public:
  explicit Child(std::vector<std::string> arguments, int input = STDIN_FILENO) {
    int ends[2];
    BERT_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    arguments.insert(arguments.begin(), BERT_CTL_BINARY);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    BERT_CHECK(posix_spawn(&pid_, BERT_CTL_BINARY, &actions, nullptr, argv.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = ends[0];
  }
  ~Child() { close(output_); }

  // Reads on until `text` has come, or the output's end.
  void ReadUntil(const std::string& text) {
    char buffer[4096];
    while (text.empty() || seen_.find(text) == std::string::npos) {
      const ssize_t bytes = read(output_, buffer, sizeof(buffer));
      if (bytes <= 0) return;
      seen_.append(buffer, bytes);
    }
  }

  void Signal(int number) const { BERT_CHECK(kill(pid_, number) == 0); }

  // The exit code, or minus the signal that ended it.
  int Wait() {
    ReadUntil("");
    int status = 0;
    BERT_CHECK(waitpid(pid_, &status, 0) == pid_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  const std::string& seen() const { return seen_; }

 private:
  pid_t pid_ = 0;
  int output_ = -1;
  std::string seen_;
};

class ProcessTest : public testing::Test {
 protected:
  ProcessTest() {
    job_ = ExampleJob();
    job_.set_id("job-1");
    coordinator_.AddJob(job_);
  }

  v1::Job job_;
  FakeCoordinator coordinator_;
};

TEST_F(ProcessTest, CtrlCDetachesFromAJobAndSaysHowToGoOn) {
  coordinator_.AddWatch({.jobs = {job_}, .stays_open = true});
  Child child({"watch", "job-1", "--insecure", "--coordinator", coordinator_.address()});
  child.ReadUntil("step 240/600");
  child.Signal(SIGINT);
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_THAT(child.seen(), HasSubstr("bertctl: detached; job job-1 goes on\n"
                                      "  bertctl watch job-1    to follow it again\n"
                                      "  bertctl cancel job-1   to stop it\n"));
  EXPECT_TRUE(coordinator_.cancels().empty());
}

TEST_F(ProcessTest, CtrlCWhileTheCoordinatorIsAwayEndsAtOnce) {
  coordinator_.AddWatch({.jobs = {job_}, .stays_open = true});
  Child child({"watch", "job-1", "--insecure", "--coordinator", coordinator_.address()});
  child.ReadUntil("step 240/600");
  coordinator_.Stop();
  child.ReadUntil("lost the coordinator");
  child.Signal(SIGINT);
  EXPECT_EQ(child.Wait(), 130);
}

// Interrupts a child that waits for more of its standard input: it has read the beginning, and there is no end.
int InterruptWhileReading(const std::vector<std::string>& arguments, std::string& said) {
  int ends[2];
  BERT_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  const std::string begun = "preset: tiny\n";
  BERT_CHECK(write(ends[1], begun.data(), begun.size()) == static_cast<ssize_t>(begun.size()));
  Child child(arguments, ends[0]);
  for (int unread = 1; unread > 0;) {
    BERT_CHECK(ioctl(ends[0], FIONREAD, &unread) == 0);
    std::this_thread::yield();
  }
  child.Signal(SIGINT);
  const int code = child.Wait();
  said = child.seen();
  close(ends[0]);
  close(ends[1]);
  return code;
}

TEST_F(ProcessTest, CtrlCEndsTheReadingOfStandardInput) {
  std::string said;
  EXPECT_EQ(InterruptWhileReading({"submit", "-f", "-", "--insecure", "--coordinator", coordinator_.address()}, said),
            130);
  EXPECT_EQ(said, "bertctl: interrupted; nothing was submitted\n");
  EXPECT_TRUE(coordinator_.submits().empty());
}

TEST_F(ProcessTest, AClosedPipeEndsItWithoutASignal) {
  for (int i = 0; i < 20000; ++i) coordinator_.AddLogLine(0, std::string(100, 'x'));
  const std::string command = std::string(BERT_CTL_BINARY) + " logs job-1 --insecure --coordinator " +
                              coordinator_.address() + " 2>&1 | head -n 1";
  FILE* const pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char buffer[256] = {};
  ASSERT_NE(fgets(buffer, sizeof(buffer), pipe), nullptr);
  EXPECT_THAT(buffer, testing::StartsWith("rank 0 | xxx"));
  EXPECT_EQ(pclose(pipe), 0);
}

TEST_F(ProcessTest, ExitCodesReachTheShell) {
  EXPECT_EQ(Child({"get", "job-1", "--exit-code", "--insecure", "--coordinator", coordinator_.address()}).Wait(), 101);
  EXPECT_EQ(Child({"get", "job-2", "--insecure", "--coordinator", coordinator_.address()}).Wait(), 102);
  EXPECT_EQ(Child({"get"}).Wait(), 2);
}

}  // namespace
}  // namespace bert::ctl
