#include "coordinator/server.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bert/v1/checkpoints.grpc.pb.h"
#include "bert/v1/jobs.grpc.pb.h"
#include "bert/v1/nodes.grpc.pb.h"
#include "bert/v1/worker.grpc.pb.h"
#include "common/clock.h"
#include "common/files.h"

namespace bert::coordinator {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kDeadline = std::chrono::seconds(20);

// The machine's, whose wall time can be set back.
class SettableClock : public Clock {
 public:
  absl::Time Now() override { return RealClock().Now() - absl::Hours(hours_back.load()); }
  absl::Duration Monotonic() override { return RealClock().Monotonic(); }

  std::atomic<int> hours_back = 0;
};

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/server-", testing::UnitTest::GetInstance()->random_seed(), "-",
                              testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(RemoveTree(directory_).ok());
    StartServer();
  }
  void TearDown() override {
    server_ = nullptr;
    EXPECT_TRUE(RemoveTree(directory_).ok());
  }

  Server::Options Options() {
    Server::Options options;
    options.listen = "127.0.0.1:0";
    options.http = "127.0.0.1:0";
    options.state_dir = directory_;
    options.credentials.insecure = true;
    // A machine under a sanitizer may be slow to beat.
    options.heartbeat_interval = absl::Seconds(20);
    options.clock = &clock_;
    return options;
  }

  void StartServer() {
    server_ = nullptr;
    auto server = Server::Start(Options());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    const auto channel = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    jobs_ = v1::JobService::NewStub(channel);
    nodes_ = v1::NodeService::NewStub(channel);
    checkpoints_ = v1::CheckpointService::NewStub(channel);
    workers_ = v1::WorkerService::NewStub(channel);
  }

  // Calls one unary method of a stub; the status ends in status_.
  template <typename Response, typename Stub, typename Request>
  Response Call(Stub& stub, grpc::Status (Stub::element_type::*method)(grpc::ClientContext*, const Request&, Response*),
                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    Response response;
    status_ = (*stub.*method)(&context, request, &response);
    return response;
  }

  void RegisterNode(int slots) {
    v1::RegisterNodeRequest request;
    request.set_node("a");
    request.set_incarnation("a1");
    for (int i = 0; i < slots; ++i) request.add_slots()->set_index(i);
    grpc::ClientContext context;
    v1::RegisterNodeResponse response;
    ASSERT_TRUE(workers_->RegisterNode(&context, request, &response).ok());
    EXPECT_EQ(response.lease().seconds(), 60);
  }
  void BeatLoader() {
    v1::LoaderHeartbeatRequest request;
    request.set_address("127.0.0.1:7410");
    grpc::ClientContext context;
    v1::LoaderHeartbeatResponse response;
    ASSERT_TRUE(workers_->LoaderHeartbeat(&context, request, &response).ok());
  }
  // Reports the ranks in the given state; returns the number of assignments.
  int Beat(const std::string& job, int64_t generation, int ranks, v1::RankState state) {
    v1::HeartbeatRequest request;
    request.set_node("a");
    request.set_incarnation("a1");
    for (int rank = 0; rank < ranks; ++rank) {
      v1::RankStatus& status = *request.add_ranks();
      status.set_job_id(job);
      status.set_generation(generation);
      status.set_rank(rank);
      status.set_state(state);
    }
    grpc::ClientContext context;
    v1::HeartbeatResponse response;
    EXPECT_TRUE(workers_->Heartbeat(&context, request, &response).ok());
    return response.assignments_size();
  }
  std::string Submit(int ranks) {
    v1::SubmitJobRequest request;
    v1::JobSpec& spec = *request.mutable_spec();
    spec.set_name("job");
    spec.set_preset("tiny");
    spec.mutable_data()->set_dataset("english");
    spec.mutable_workers()->set_min(ranks);
    spec.mutable_workers()->set_max(ranks);
    grpc::ClientContext context;
    v1::SubmitJobResponse response;
    const grpc::Status status = jobs_->SubmitJob(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.job().id();
  }
  grpc::Status Join(const std::string& job, int32_t rank, std::chrono::milliseconds deadline,
                    v1::JoinRendezvousResponse* response) {
    v1::JoinRendezvousRequest request;
    request.set_job_id(job);
    request.set_generation(1);
    request.set_rank(rank);
    request.set_store_address(absl::StrCat("store-", rank));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + deadline);
    return workers_->JoinRendezvous(&context, request, response);
  }
  // A job of two ranks whose ranks have met.
  std::string RunningJob() {
    RegisterNode(2);
    BeatLoader();
    const std::string job = Submit(2);
    EXPECT_EQ(Beat(job, 1, 0, v1::RANK_STATE_RUNNING), 2);
    v1::JoinRendezvousResponse first;
    auto joining =
        std::async(std::launch::async, [&] { return Join(job, 0, std::chrono::milliseconds(kDeadline), &first); });
    v1::JoinRendezvousResponse second;
    EXPECT_TRUE(Join(job, 1, std::chrono::milliseconds(kDeadline), &second).ok());
    EXPECT_TRUE(joining.get().ok());
    EXPECT_EQ(first.store_address(), "store-0");
    EXPECT_EQ(second.store_address(), "store-0");
    EXPECT_EQ(Beat(job, 1, 2, v1::RANK_STATE_RUNNING), 2);
    return job;
  }
  void Report(const std::string& job, int64_t first, int64_t last) {
    v1::ReportProgressRequest request;
    request.set_job_id(job);
    request.set_generation(1);
    for (int64_t step = first; step <= last; ++step) {
      request.add_steps()->set_step(step);
      request.mutable_steps()->rbegin()->set_loss(1.0 / static_cast<double>(step));
    }
    request.add_validations()->set_step(last);
    Call<v1::ReportProgressResponse>(workers_, &v1::WorkerService::Stub::ReportProgress, request);
    EXPECT_TRUE(status_.ok()) << status_.error_message();
  }
  void Upload(const std::string& job, int64_t first_line, const std::vector<std::string>& lines) {
    v1::UploadLogsRequest request;
    request.set_node("a");
    request.set_incarnation("a1");
    v1::LogChunk& chunk = *request.add_chunks();
    chunk.set_job_id(job);
    chunk.set_generation(1);
    chunk.set_first_line(first_line);
    for (const std::string& line : lines) chunk.add_lines()->set_text(line);
    const auto response = Call<v1::UploadLogsResponse>(workers_, &v1::WorkerService::Stub::UploadLogs, request);
    ASSERT_TRUE(status_.ok()) << status_.error_message();
    EXPECT_EQ(response.positions(0).next_line(), first_line + static_cast<int64_t>(lines.size()));
  }
  v1::Job Get(const std::string& job) {
    v1::GetJobRequest request;
    request.set_job_id(job);
    return Call<v1::GetJobResponse>(jobs_, &v1::JobService::Stub::GetJob, request).job();
  }
  std::string Metrics() {
    const auto page = httplib::Client("http://" + server_->http_address()).Get("/metrics");
    EXPECT_TRUE(page);
    return page ? page->body : "";
  }
  std::vector<std::string> ReadLogs(const v1::StreamJobLogsRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    const auto reader = jobs_->StreamJobLogs(&context, request);
    std::vector<std::string> texts;
    v1::StreamJobLogsResponse response;
    while (reader->Read(&response)) {
      for (const v1::LogLine& line : response.lines()) texts.push_back(line.text());
    }
    status_ = reader->Finish();
    return texts;
  }

  SettableClock clock_;
  std::string directory_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::NodeService::Stub> nodes_;
  std::unique_ptr<v1::CheckpointService::Stub> checkpoints_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
  grpc::Status status_;
};

TEST_F(ServerTest, AJobFromSubmissionToItsEnd) {
  const std::string job = RunningJob();
  v1::WatchJobRequest watch;
  watch.set_job_id(job);
  grpc::ClientContext watch_context;
  const auto watcher = jobs_->WatchJob(&watch_context, watch);
  v1::WatchJobResponse seen;
  ASSERT_TRUE(watcher->Read(&seen));
  EXPECT_EQ(seen.job().state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(seen.job().ranks_size(), 2);

  v1::StreamJobLogsRequest follow;
  follow.set_job_id(job);
  follow.set_follow(true);
  auto followed = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    const auto reader = jobs_->StreamJobLogs(&context, follow);
    std::vector<std::string> texts;
    v1::StreamJobLogsResponse response;
    while (reader->Read(&response)) {
      for (const v1::LogLine& line : response.lines()) texts.push_back(line.text());
    }
    EXPECT_TRUE(reader->Finish().ok());
    return texts;
  });
  Upload(job, 0, {"one", "two"});
  Upload(job, 1, {"two", "three"});
  Report(job, 1, 20);
  v1::CommitCheckpointRequest commit;
  commit.set_job_id(job);
  commit.set_generation(1);
  commit.set_step(20);
  commit.set_directory("/checkpoints/x");
  commit.set_digest("xxh128:0123");
  Call<v1::CommitCheckpointResponse>(workers_, &v1::WorkerService::Stub::CommitCheckpoint, commit);
  EXPECT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(Beat(job, 1, 2, v1::RANK_STATE_EXITED), 0);
  // The last lines come after the exit.
  Upload(job, 3, {"four"});

  while (watcher->Read(&seen)) {
  }
  EXPECT_TRUE(watcher->Finish().ok());
  EXPECT_EQ(seen.job().state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(seen.job().last_step().step(), 20);
  EXPECT_EQ(seen.job().checkpoint_step(), 20);
  EXPECT_THAT(followed.get(), ElementsAre("one", "two", "three", "four"));

  v1::ListStepsRequest steps;
  steps.set_job_id(job);
  steps.set_max_points(4);
  const auto thinned = Call<v1::ListStepsResponse>(jobs_, &v1::JobService::Stub::ListSteps, steps);
  EXPECT_EQ(thinned.steps_size(), 4);
  EXPECT_EQ(thinned.validations_size(), 1);
  v1::ListJobEventsRequest events;
  events.set_job_id(job);
  const auto happened = Call<v1::ListJobEventsResponse>(jobs_, &v1::JobService::Stub::ListJobEvents, events);
  ASSERT_GT(happened.events_size(), 4);
  EXPECT_EQ(happened.events(0).type(), "SUBMITTED");
  EXPECT_EQ(happened.events(happened.events_size() - 1).type(), "SUCCEEDED");
  v1::ListCheckpointsRequest list;
  list.set_job_id(job);
  EXPECT_EQ(Call<v1::ListCheckpointsResponse>(checkpoints_, &v1::CheckpointService::Stub::ListCheckpoints, list)
                .checkpoints_size(),
            1);
  const auto nodes = Call<v1::ListNodesResponse>(nodes_, &v1::NodeService::Stub::ListNodes, v1::ListNodesRequest());
  EXPECT_EQ(nodes.nodes(0).slots_size(), 2);
  EXPECT_EQ(nodes.loaders_size(), 1);
}

TEST_F(ServerTest, EverythingIsThereAfterARestart) {
  const std::string job = RunningJob();
  Report(job, 1, 7);
  Upload(job, 0, {"one", "two"});
  StartServer();
  // Before anything else happens.
  EXPECT_THAT(Metrics(),
              AllOf(HasSubstr("bert_coordinator_jobs{state=\"running\"} 1"),
                    HasSubstr("bert_coordinator_nodes{state=\"ready\"} 1"),
                    HasSubstr("bert_coordinator_slots{state=\"used\"} 2"), HasSubstr("bert_coordinator_loaders 0")));
  BeatLoader();
  EXPECT_THAT(Metrics(), HasSubstr("bert_coordinator_loaders 1"));
  const v1::Job after = Get(job);
  EXPECT_EQ(after.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(after.last_step().step(), 7);
  // The agent and the trainers go on as if nothing had been.
  EXPECT_EQ(Beat(job, 1, 2, v1::RANK_STATE_RUNNING), 2);
  Report(job, 5, 9);
  Upload(job, 1, {"two", "three"});
  v1::StreamJobLogsRequest logs;
  logs.set_job_id(job);
  EXPECT_THAT(ReadLogs(logs), ElementsAre("one", "two", "three"));
  logs.set_tail(1);
  EXPECT_THAT(ReadLogs(logs), ElementsAre("three"));
  logs.set_tail(0);
  logs.set_after_sequence(1);
  EXPECT_THAT(ReadLogs(logs), ElementsAre("two", "three"));
  logs.set_rank(1);
  EXPECT_THAT(ReadLogs(logs), ElementsAre());
  v1::ListStepsRequest steps;
  steps.set_job_id(job);
  EXPECT_EQ(Call<v1::ListStepsResponse>(jobs_, &v1::JobService::Stub::ListSteps, steps).steps_size(), 9);
}

TEST_F(ServerTest, AFollowerGetsLinesThatCouldNotBeStoredAtFirst) {
  const std::string job = RunningJob();
  Upload(job, 0, {"one"});
  v1::StreamJobLogsRequest follow;
  follow.set_job_id(job);
  follow.set_follow(true);
  grpc::ClientContext context;
  const auto reader = jobs_->StreamJobLogs(&context, follow);
  v1::StreamJobLogsResponse seen;
  ASSERT_TRUE(reader->Read(&seen));
  EXPECT_EQ(seen.lines(0).text(), "one");
  {
    SQLite::Database other(directory_ + "/history.sqlite", SQLite::OPEN_READWRITE);
    SQLite::Transaction nobody_else_writes(other, SQLite::TransactionBehavior::IMMEDIATE);
    v1::UploadLogsRequest request;
    request.set_node("a");
    request.set_incarnation("a1");
    v1::LogChunk& chunk = *request.add_chunks();
    chunk.set_job_id(job);
    chunk.set_generation(1);
    chunk.set_first_line(1);
    chunk.add_lines()->set_text("two");
    Call<v1::UploadLogsResponse>(workers_, &v1::WorkerService::Stub::UploadLogs, request);
    EXPECT_EQ(status_.error_code(), grpc::StatusCode::UNAVAILABLE) << status_.error_message();
  }
  ASSERT_TRUE(reader->Read(&seen));
  EXPECT_EQ(seen.lines(0).text(), "two");
  EXPECT_EQ(seen.lines(0).sequence(), 2);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServerTest, ARankMayStopWaitingAndComeBack) {
  RegisterNode(2);
  BeatLoader();
  const std::string job = Submit(2);
  v1::JoinRendezvousResponse response;
  const grpc::Status early = Join(job, 0, std::chrono::milliseconds(50), &response);
  EXPECT_EQ(early.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // It stays joined; its peer need not wait for it.
  EXPECT_TRUE(Join(job, 1, std::chrono::milliseconds(kDeadline), &response).ok());
  EXPECT_TRUE(Join(job, 0, std::chrono::milliseconds(kDeadline), &response).ok());
  EXPECT_EQ(Get(job).state(), v1::JOB_STATE_RUNNING);
}

TEST_F(ServerTest, StreamsGoOnWhenTheClockIsSetBack) {
  const std::string job = RunningJob();
  v1::WatchJobRequest watch;
  watch.set_job_id(job);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  const auto watcher = jobs_->WatchJob(&context, watch);
  v1::WatchJobResponse seen;
  ASSERT_TRUE(watcher->Read(&seen));
  Upload(job, 0, {"one"});
  Report(job, 1, 1);
  EXPECT_EQ(Beat(job, 1, 2, v1::RANK_STATE_EXITED), 0);
  clock_.hours_back = 1;
  // By its wall time the job ends in an hour.
  while (seen.job().state() != v1::JOB_STATE_SUCCEEDED && watcher->Read(&seen)) {
  }
  EXPECT_EQ(seen.job().state(), v1::JOB_STATE_SUCCEEDED);
  v1::StreamJobLogsRequest follow;
  follow.set_job_id(job);
  follow.set_follow(true);
  EXPECT_THAT(ReadLogs(follow), ElementsAre("one"));
  EXPECT_TRUE(status_.ok()) << status_.error_message();
}

TEST_F(ServerTest, UnknownJobsAreNotFound) {
  v1::WatchJobRequest watch;
  watch.set_job_id("x");
  grpc::ClientContext context;
  const auto watcher = jobs_->WatchJob(&context, watch);
  v1::WatchJobResponse seen;
  EXPECT_FALSE(watcher->Read(&seen));
  EXPECT_EQ(watcher->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  v1::StreamJobLogsRequest logs;
  logs.set_job_id("x");
  EXPECT_THAT(ReadLogs(logs), ElementsAre());
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::NOT_FOUND);
  Get("x");
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status_.error_message(), HasSubstr("'x'"));
}

TEST_F(ServerTest, OpenStreamsEndWithTheServer) {
  const std::string job = RunningJob();
  v1::WatchJobRequest watch;
  watch.set_job_id(job);
  grpc::ClientContext context;
  const auto watcher = jobs_->WatchJob(&context, watch);
  v1::WatchJobResponse seen;
  ASSERT_TRUE(watcher->Read(&seen));
  // A caller that goes away does not hold the server up either.
  {
    grpc::ClientContext gone;
    const auto other = jobs_->WatchJob(&gone, watch);
    ASSERT_TRUE(other->Read(&seen));
    gone.TryCancel();
    EXPECT_EQ(other->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  server_ = nullptr;
  while (watcher->Read(&seen)) {
  }
  EXPECT_FALSE(watcher->Finish().ok());
}

TEST_F(ServerTest, ASecondOneIsRefused) {
  const auto same_directory = Server::Start(Options());
  EXPECT_THAT(std::string(same_directory.status().message()), HasSubstr("in use by another bert-coordinator"));
  Server::Options options = Options();
  options.state_dir = directory_ + "/other";
  options.listen = server_->address();
  const auto same_port = Server::Start(options);
  EXPECT_THAT(std::string(same_port.status().message()), AllOf(HasSubstr(server_->address()), HasSubstr("in use")));
}

TEST_F(ServerTest, MetricsAreServed) {
  const std::string job = RunningJob();
  EXPECT_THAT(Metrics(), AllOf(HasSubstr("bert_coordinator_jobs{state=\"running\"} 1"),
                               HasSubstr("bert_coordinator_nodes{state=\"ready\"} 1"),
                               HasSubstr("bert_coordinator_slots{state=\"used\"} 2"),
                               HasSubstr("bert_coordinator_commit_seconds_count"),
                               HasSubstr("bert_coordinator_rpc_requests_total")));
  EXPECT_EQ(httplib::Client("http://" + server_->http_address()).Get("/readyz")->status, 200);
}

}  // namespace
}  // namespace bert::coordinator
