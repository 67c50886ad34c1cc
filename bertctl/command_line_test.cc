// Every command against a coordinator that a test scripts.
#include "bertctl/command_line.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <thread>

#include "bertctl/example_job.h"
#include "bertctl/fake_coordinator.h"
#include "common/files.h"

namespace bert::ctl {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kGoodSpec[] = "preset: tiny\ndata:\n  dataset: english\n";

// Ages are those of the example; what waits really waits.
class TestClock : public Clock {
 public:
  absl::Time Now() override { return ExampleNow(); }
  absl::Duration Monotonic() override { return RealClock().Monotonic(); }
};

struct Result {
  int code;
  std::string out;
  std::string err;
};

class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() : directory_(testing::TempDir() + "/bertctl_command_line_test") {
    // What a person exports must not change what is tested.
    for (const char* name : {"BERT_INSECURE", "BERT_COORDINATOR", "BERT_TLS_CERT", "BERT_TLS_KEY", "BERT_TLS_CA"}) {
      unsetenv(name);
    }
    std::filesystem::create_directories(directory_);
    spec_path_ = directory_ + "/job.yaml";
    WriteSpec(kGoodSpec);
    v1::Job job = ExampleJob();
    job.set_id("job-1");
    coordinator_.AddJob(job);
  }

  void WriteSpec(const std::string& text) { ASSERT_TRUE(WriteFileDurably(spec_path_, text).ok()); }

  Result Run(std::vector<std::string> arguments) {
    std::istringstream in(in_);
    std::ostringstream out;
    std::ostringstream err;
    TestClock clock;
    Console console{.in = in, .out = out, .err = err, .user = "ada"};
    arguments.push_back("--insecure");
    if (std::find(arguments.begin(), arguments.end(), "--coordinator") == arguments.end()) {
      arguments.insert(arguments.end(), {"--coordinator", coordinator_.address()});
    }
    const ExitCode code = RunCommandLine(arguments, console, shutdown_, clock);
    return {static_cast<int>(code), out.str(), err.str()};
  }

  static v1::Job InState(v1::JobState state) {
    v1::Job job = ExampleJob();
    job.set_id("job-1");
    job.set_state(state);
    return job;
  }

  ShutdownSignal shutdown_;
  FakeCoordinator coordinator_;
  const std::string directory_;
  std::string spec_path_;
  std::string in_;
};

TEST_F(CommandLineTest, SubmitPrintsOnlyTheIdOnStandardOutput) {
  const Result result = Run({"submit", "-f", spec_path_, "--set", "train.steps=500", "--name", "nightly"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "job-1\n");
  EXPECT_EQ(result.err, "bertctl: submitted; `bertctl watch job-1` follows it\n");
  const auto submits = coordinator_.submits();
  ASSERT_EQ(submits.size(), 1u);
  EXPECT_EQ(submits[0].user(), "ada");
  EXPECT_FALSE(submits[0].dry_run());
  EXPECT_EQ(submits[0].spec().name(), "nightly");
  EXPECT_EQ(submits[0].spec().train().steps(), 500);
}

TEST_F(CommandLineTest, SubmitReadsStandardInput) {
  in_ = kGoodSpec;
  EXPECT_EQ(Run({"submit", "-f", "-"}).out, "job-1\n");
  in_ = "presett: tiny\n";
  const Result result = Run({"submit", "-f", "-"});
  EXPECT_EQ(result.code, 5);
  EXPECT_EQ(result.err,
            "standard input:1: presett: unknown field; did you mean 'preset'?\n"
            "bertctl: 1 problem in standard input; nothing was submitted\n");
}

TEST_F(CommandLineTest, SubmitNamesWhatIsWrongWithTheFile) {
  WriteSpec("preset: tiny\nworkers:\n  min: 4\n  max: 2\n");
  const Result result = Run({"submit", "-f", spec_path_});
  EXPECT_EQ(result.code, 5);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err,
            spec_path_ + ": data.dataset: is required: the dataset's directory relative to the dataloader's " +
                "--data-root\n" + spec_path_ + ":3: workers.min: must be at most workers.max (2); it is 4\n" +
                "bertctl: 2 problems in " + spec_path_ + "; nothing was submitted\n");
  EXPECT_TRUE(coordinator_.submits().empty());
}

TEST_F(CommandLineTest, SubmitOfAMissingFileIsAnError) {
  const Result result = Run({"submit", "-f", directory_ + "/none.yaml"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, AllOf(StartsWith("bertctl: cannot read the job: "), HasSubstr("none.yaml"),
                                HasSubstr("No such file or directory")));
}

TEST_F(CommandLineTest, SubmitIsTriedAgainWithTheSameRequestId) {
  coordinator_.FailNext({grpc::StatusCode::UNAVAILABLE, "starting"});
  coordinator_.FailNext({grpc::StatusCode::UNAVAILABLE, "starting"});
  EXPECT_EQ(Run({"submit", "-f", spec_path_}).code, 0);
  EXPECT_EQ(Run({"submit", "-f", spec_path_}).code, 0);
  const auto submits = coordinator_.submits();
  ASSERT_EQ(submits.size(), 4u);
  EXPECT_FALSE(submits[0].request_id().empty());
  EXPECT_EQ(submits[0].request_id(), submits[1].request_id());
  EXPECT_EQ(submits[0].request_id(), submits[2].request_id());
  EXPECT_NE(submits[0].request_id(), submits[3].request_id());
}

TEST_F(CommandLineTest, SubmitTellsRefusalsApart) {
  const std::vector<std::pair<grpc::StatusCode, int>> codes = {{grpc::StatusCode::INVALID_ARGUMENT, 5},
                                                               {grpc::StatusCode::FAILED_PRECONDITION, 6},
                                                               {grpc::StatusCode::UNAUTHENTICATED, 4},
                                                               {grpc::StatusCode::INTERNAL, 1}};
  for (const auto& [status, code] : codes) {
    coordinator_.FailNext({status, "why"});
    const Result result = Run({"submit", "-f", spec_path_});
    EXPECT_EQ(result.code, code);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, "bertctl: why\n");
  }
}

TEST_F(CommandLineTest, DryRunPrintsTheCompleteSpecAndAsksTheCoordinator) {
  Result result = Run({"submit", "-f", spec_path_, "--dry-run"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, AllOf(StartsWith("name: tiny\npreset: tiny\n"), HasSubstr("hidden_size: 256\n")));
  EXPECT_THAT(result.err, HasSubstr("nothing was submitted"));
  EXPECT_TRUE(coordinator_.submits().at(0).dry_run());
  EXPECT_THAT(result.err, HasSubstr("estimate: "));
  coordinator_.FailNext({grpc::StatusCode::FAILED_PRECONDITION, "no node has so many slots"});
  result = Run({"submit", "-f", spec_path_, "--dry-run", "-o", "json"});
  EXPECT_EQ(result.code, 6);
  EXPECT_THAT(result.out, HasSubstr("\"hidden_size\": 256"));
}

TEST_F(CommandLineTest, SubmitFollowEndsAsTheJobEnds) {
  for (const auto& [state, code] : std::vector<std::pair<v1::JobState, int>>{
           {v1::JOB_STATE_SUCCEEDED, 0}, {v1::JOB_STATE_FAILED, 100}, {v1::JOB_STATE_CANCELLED, 103}}) {
    coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_PENDING), InState(v1::JOB_STATE_RUNNING), InState(state)}});
    const Result result = Run({"submit", "-f", spec_path_, "--follow"});
    EXPECT_EQ(result.code, code);
    EXPECT_EQ(result.out, "job-1\n");
    EXPECT_THAT(result.err, AllOf(HasSubstr("pending: 2 ranks train\n"),
                                  HasSubstr("[########------------]  40%  step 240/600"), HasSubstr("\njob job-1 ")));
  }
}

TEST_F(CommandLineTest, WatchGoesOnAfterTheStreamBreaks) {
  coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_RUNNING)}, .status = {grpc::StatusCode::UNAVAILABLE, "gone"}});
  // A stream that just ends has not said that the job did.
  coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_RUNNING)}});
  coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_SUCCEEDED)}});
  const Result result = Run({"watch", "job-1"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("lost the coordinator at " + coordinator_.address()), HasSubstr("is back"),
                                HasSubstr("job job-1 succeeded")));
}

TEST_F(CommandLineTest, WatchSurvivesARestartOfTheCoordinator) {
  coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_RUNNING)}, .stays_open = true});
  coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_FAILED)}});
  std::thread restart([&] {
    coordinator_.WaitForWatch();
    coordinator_.Stop();
    coordinator_.Restart();
  });
  const Result result = Run({"watch", "job-1"});
  restart.join();
  EXPECT_EQ(result.code, 100) << result.err;
  EXPECT_THAT(result.out,
              HasSubstr("root cause in generation 1: rank 1 on node node-a was killed by signal 9 (SIGKILL)"));
}

TEST_F(CommandLineTest, WatchAsJsonPrintsALineAChange) {
  coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_RUNNING), InState(v1::JOB_STATE_SUCCEEDED)}});
  const Result result = Run({"watch", "job-1", "-o", "json"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 2);
  EXPECT_THAT(result.out, StartsWith("{\"id\":\"job-1\""));
}

TEST_F(CommandLineTest, WatchEndsWithTheTimeout) {
  coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_RUNNING)}, .stays_open = true});
  const Result result = Run({"watch", "job-1", "--timeout", "200ms"});
  EXPECT_EQ(result.code, 124);
  EXPECT_EQ(result.err,
            "bertctl: timed out after 200ms; job job-1 goes on\n"
            "  bertctl watch job-1    to follow it again\n"
            "  bertctl cancel job-1   to stop it\n");
}

TEST_F(CommandLineTest, ASignalDetachesAndCancelsNothing) {
  coordinator_.AddWatch({.jobs = {InState(v1::JOB_STATE_RUNNING)}, .stays_open = true});
  shutdown_.Request(SIGINT);
  const Result result = Run({"watch", "job-1"});
  EXPECT_EQ(result.code, 130);
  EXPECT_THAT(result.err, StartsWith("bertctl: detached; job job-1 goes on\n"));
  EXPECT_TRUE(coordinator_.cancels().empty());
}

TEST_F(CommandLineTest, LogsPrintRanksAndFilter) {
  coordinator_.AddLogLine(0, "step 10");
  coordinator_.AddLogLine(1, "hello");
  coordinator_.AddLogLine(0, "step 20");
  EXPECT_EQ(Run({"logs", "job-1"}).out, "rank 0 | step 10\nrank 1 | hello\nrank 0 | step 20\n");
  EXPECT_EQ(Run({"logs", "job-1", "--rank", "0"}).out, "step 10\nstep 20\n");
  EXPECT_EQ(Run({"logs", "job-1", "--tail", "1", "--timestamps"}).out, "1970-01-01T00:00:03.000Z rank 0 | step 20\n");
  EXPECT_THAT(Run({"logs", "job-1", "-o", "json", "--tail", "1"}).out,
              StartsWith("{\"sequence\":\"3\",\"generation\":\"0\",\"rank\":0"));
}

TEST_F(CommandLineTest, LogsLoseAndRepeatNoLineWhenTheStreamBreaks) {
  for (int i = 1; i <= 5; ++i) coordinator_.AddLogLine(0, "line " + std::to_string(i));
  coordinator_.BreakLogsAfter(2);
  const Result result = Run({"logs", "-f", "job-1", "--rank", "0", "--tail", "4"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out, "line 2\nline 3\nline 4\nline 5\n");
  EXPECT_THAT(result.err, AllOf(HasSubstr("lost the coordinator"), HasSubstr("is back")));
  const auto requests = coordinator_.log_requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_TRUE(requests[0].follow());
  EXPECT_EQ(requests[1].after_sequence(), 3);
  EXPECT_EQ(requests[1].tail(), 0);
}

TEST_F(CommandLineTest, ListReadsAllPages) {
  v1::Job other = InState(v1::JOB_STATE_PENDING);
  other.set_id("job-2");
  coordinator_.AddJob(other);
  EXPECT_EQ(Run({"list", "-o", "name"}).out, "job-1\njob-2\n");
  EXPECT_EQ(Run({"list", "-o", "name", "--limit", "1"}).out, "job-1\n");
  EXPECT_EQ(Run({"list", "-o", "name", "--state", "pending"}).out, "job-2\n");
  EXPECT_THAT(Run({"list"}).out, AllOf(StartsWith("ID     STATE"), HasSubstr("job-1  RUNNING"), HasSubstr("5m00s\n")));
  EXPECT_THAT(Run({"list", "-o", "json"}).out, HasSubstr("\"id\": \"job-2\""));
  EXPECT_THAT(Run({"list", "-o", "yaml"}).out, StartsWith("jobs:\n- id: job-1\n"));
  EXPECT_THAT(Run({"list", "--state", "runing"}).err, HasSubstr("must be one of pending, starting, running"));
}

TEST_F(CommandLineTest, GetAndItsExitCode) {
  EXPECT_THAT(Run({"get", "job-1"}).out, HasSubstr("RUNNING"));
  EXPECT_EQ(Run({"get", "job-1"}).code, 0);
  EXPECT_EQ(Run({"get", "job-1", "--exit-code"}).code, 101);
  coordinator_.AddJob(InState(v1::JOB_STATE_FAILED));
  EXPECT_EQ(Run({"get", "job-1", "--exit-code", "-o", "name"}).code, 100);
}

TEST_F(CommandLineTest, AnUnknownJobHasItsOwnExitCode) {
  for (const char* command : {"get", "describe", "cancel", "watch", "logs"}) {
    const Result result = Run({command, "job-9"});
    EXPECT_EQ(result.code, 102) << command;
    EXPECT_THAT(result.err, StartsWith("bertctl: no job job-9\n")) << command;
  }
}

TEST_F(CommandLineTest, DescribeEventsCheckpointsNodes) {
  v1::ListCheckpointsResponse checkpoints;
  checkpoints.add_checkpoints()->set_directory("/data/step-00000200");
  coordinator_.set_checkpoints(checkpoints);
  v1::ListJobEventsResponse events;
  events.add_events()->set_type("SUBMITTED");
  coordinator_.set_events(events);
  v1::ListNodesResponse nodes;
  nodes.add_nodes()->set_name("node-a");
  coordinator_.set_nodes(nodes);
  EXPECT_THAT(Run({"describe", "job-1"}).out, AllOf(HasSubstr("Checkpoints (1)"), HasSubstr("SUBMITTED")));
  EXPECT_THAT(Run({"events", "job-1"}).out, HasSubstr("SUBMITTED"));
  EXPECT_EQ(Run({"checkpoint", "list", "job-1", "-o", "name"}).out, "/data/step-00000200\n");
  EXPECT_THAT(Run({"checkpoint", "list", "job-1"}).out, HasSubstr("DIRECTORY"));
  EXPECT_EQ(Run({"node", "list", "-o", "name"}).out, "node-a\n");
  EXPECT_THAT(Run({"node", "list"}).out, StartsWith("NODE"));
}

TEST_F(CommandLineTest, CancelSaysWhatBecameOfEach) {
  coordinator_.AddJob(InState(v1::JOB_STATE_CANCELLING));
  const Result result = Run({"cancel", "job-1", "job-9"});
  EXPECT_EQ(result.code, 102);
  EXPECT_EQ(result.out, "job-1\n");
  EXPECT_THAT(result.err, HasSubstr("job job-1 is being cancelled; its checkpoints stay\n"));
  coordinator_.AddJob(InState(v1::JOB_STATE_SUCCEEDED));
  EXPECT_THAT(Run({"cancel", "job-1"}).err, HasSubstr("had already ended: SUCCEEDED"));
  EXPECT_FALSE(coordinator_.cancels().at(0).request_id().empty());
}

TEST_F(CommandLineTest, AnUnreachableCoordinatorIsOneClearError) {
  const std::string address = coordinator_.address();
  coordinator_.Stop();
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"list"}, {"watch", "job-1"}, {"submit", "-f", spec_path_}}) {
    std::vector<std::string> with_retry = arguments;
    with_retry.insert(with_retry.end(), {"--retry", "300ms"});
    const absl::Duration start = RealClock().Monotonic();
    const Result result = Run(with_retry);
    EXPECT_LT(RealClock().Monotonic() - start, absl::Seconds(5));
    EXPECT_EQ(result.code, 3);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, AllOf(StartsWith("bertctl: cannot reach the coordinator at " + address + " ("),
                                  HasSubstr("--coordinator HOST:PORT")));
  }
}

TEST_F(CommandLineTest, ACoordinatorThatCannotWriteIsNotCalledUnreachable) {
  // More than there are attempts within the time.
  for (int i = 0; i < 100; ++i) {
    coordinator_.FailNext({grpc::StatusCode::UNAVAILABLE, "cannot write journal /state/journal.sqlite: disk is full"});
  }
  const Result result = Run({"submit", "-f", spec_path_, "--retry", "1s"});
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err,
            "bertctl: the coordinator at " + coordinator_.address() +
                " cannot do this now: cannot write journal /state/journal.sqlite: disk is full; try again\n");
}

TEST_F(CommandLineTest, ARefusedConnectionIsNotAuthenticated) {
  coordinator_.FailNext({grpc::StatusCode::UNAVAILABLE, "Ssl handshake failed: certificate verify failed"});
  const Result result = Run({"list", "--retry", "1ns"});
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, AllOf(HasSubstr("did not accept this connection"), HasSubstr("Check --tls-cert")));
}

TEST_F(CommandLineTest, ACertificateThatCannotBeUsedIsAnError) {
  // Missing, of a kind that even root may only write, and something else.
  for (const std::string& path :
       {directory_ + "/none.pem", std::string("/proc/sys/net/ipv4/route/flush"), spec_path_}) {
    std::istringstream in;
    std::ostringstream out;
    std::ostringstream err;
    TestClock clock;
    Console console{.in = in, .out = out, .err = err};
    const ExitCode code =
        RunCommandLine({"list", "--tls-cert", path, "--tls-key", path, "--tls-ca", path}, console, shutdown_, clock);
    EXPECT_EQ(code, ExitCode::kError) << path;
    EXPECT_THAT(err.str(), HasSubstr(path));
  }
}

TEST_F(CommandLineTest, WrongUsageIsNamed) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "no command given; there are: submit, list, "},
      {{"submt"}, "unknown command 'submt'; did you mean 'submit'?"},
      {{"checkpoint", "lst"}, "unknown command 'lst'; did you mean 'list'?"},
      {{"list", "--ouput", "json"}, "unknown option '--ouput'; did you mean '--output'?"},
      {{"list", "job-1"}, "unknown argument 'job-1'"},
      {{"get"}, "JOB is required"},
      {{"submit"}, "--file is required"},
      {{"list", "-o", "xml"}, "--output: must be one of table|wide|json|yaml|name; it is 'xml'"},
      {{"list", "--timeout", "5"}, "--timeout: must be a time above zero with a unit, such as 30s or 5m; it is '5'"},
      {{"list", "--coordinator", "nowhere"}, "'nowhere' is not an address"},
      {{"list", "--log-level", "loud"}, "--log-level 'loud'"},
  };
  for (const auto& [arguments, message] : cases) {
    const Result result = Run(arguments);
    EXPECT_EQ(result.code, 2) << message;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(CommandLineTest, HelpHasExamplesForEveryCommand) {
  EXPECT_THAT(Run({"--help"}).out, AllOf(HasSubstr("Exit status:"), HasSubstr("130  interrupted")));
  const std::vector<std::vector<std::string>> commands = {
      {"submit"}, {"list"},  {"get"},  {"describe"},     {"events"},
      {"cancel"}, {"watch"}, {"logs"}, {"node", "list"}, {"checkpoint", "list"}};
  for (std::vector<std::string> command : commands) {
    const std::string name = command.front();
    command.push_back("--help");
    const Result result = Run(command);
    EXPECT_EQ(result.code, 0);
    EXPECT_THAT(result.out, HasSubstr("Example")) << name;
    EXPECT_THAT(result.out, HasSubstr("bertctl " + name)) << name;
  }
  EXPECT_THAT(Run({"version"}).out, StartsWith("bertctl "));
  EXPECT_EQ(Run({"version"}).out, Run({"--version"}).out);
}

TEST_F(CommandLineTest, AnOutputThatCannotBeWrittenIsAnError) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  out.setstate(std::ios::badbit);
  TestClock clock;
  Console console{.in = in, .out = out, .err = err};
  const ExitCode code =
      RunCommandLine({"list", "--insecure", "--coordinator", coordinator_.address()}, console, shutdown_, clock);
  EXPECT_EQ(code, ExitCode::kError);
  EXPECT_EQ(err.str(), "bertctl: cannot write to standard output\n");
}

}  // namespace
}  // namespace bert::ctl
