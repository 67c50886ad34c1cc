#include "coordinator/server.h"

#include <grpcpp/resource_quota.h>
#include <prometheus/registry.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <thread>
#include <utility>

#include "common/entropy.h"
#include "common/http_endpoint.h"
#include "common/mutex.h"
#include "common/rpc/server.h"
#include "common/status_macros.h"
#include "coordinator/checkpoint_service.h"
#include "coordinator/coordinator.h"
#include "coordinator/history.h"
#include "coordinator/history_database.h"
#include "coordinator/job_service.h"
#include "coordinator/log_store.h"
#include "coordinator/metrics.h"
#include "coordinator/node_service.h"
#include "coordinator/sqlite_journal.h"
#include "coordinator/state_dir.h"
#include "coordinator/stream_pump.h"
#include "coordinator/worker_service.h"

namespace bert::coordinator {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(100);
constexpr absl::Duration kStopGrace = absl::Milliseconds(200);
// Of short calls that wait for the disk at the same time; further ones are answered RESOURCE_EXHAUSTED.
constexpr int kThreadsMax = 256;

// Calls Tick ten times a second, in a thread of its own, until destroyed.
class Ticker {
 public:
  explicit Ticker(Coordinator* coordinator) : coordinator_(coordinator) {
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "ticker");
      Run();
    });
  }
  ~Ticker() {
    {
      MutexLock lock(&mutex_);
      stopping_ = true;
      changed_.SignalAll();
    }
    thread_.join();
  }

  // Why the coordinator cannot write just now; OK where it can.
  absl::Status last_status() {
    MutexLock lock(&mutex_);
    return last_status_;
  }

 private:
  void Run() {
    while (true) {
      absl::Status status = coordinator_->Tick();
      MutexLock lock(&mutex_);
      if (status != last_status_) {
        if (!status.ok()) spdlog::error("{}", std::string(status.message()));
        if (status.ok()) spdlog::info("the journal is written again");
        last_status_ = std::move(status);
      }
      if (!stopping_) changed_.WaitFor(&mutex_, kTickInterval);
      if (stopping_) return;
    }
  }

  Coordinator* const coordinator_;
  Mutex mutex_;
  CondVar changed_;
  absl::Status last_status_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

// Members are destroyed in reverse: first the ports, last the directory's lock.
struct Server::Impl {
  explicit Impl(StateDir lock) : state_dir(std::move(lock)) {}

  StateDir state_dir;
  CoordinatorMetrics metrics;
  std::unique_ptr<HistoryDatabase> history_database;
  std::unique_ptr<History> history;
  std::unique_ptr<LogStore> logs;
  std::unique_ptr<SqliteJournal> journal;
  std::unique_ptr<Coordinator> coordinator;
  std::unique_ptr<StreamPump> pump;
  std::unique_ptr<JobService> job_service;
  std::unique_ptr<CheckpointService> checkpoint_service;
  std::unique_ptr<NodeService> node_service;
  std::unique_ptr<WorkerService> worker_service;
  std::unique_ptr<Ticker> ticker;
  std::unique_ptr<HttpEndpoint> http;
  std::unique_ptr<RpcServer> rpc;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options) {
  ASSIGN_OR_RETURN(StateDir state_dir, StateDir::Lock(options.state_dir));
  auto impl = std::make_unique<Impl>(std::move(state_dir));
  ASSIGN_OR_RETURN(impl->history_database, HistoryDatabase::Open(impl->state_dir.history_path()));
  impl->history = std::make_unique<History>(impl->history_database.get());
  ASSIGN_OR_RETURN(impl->logs, LogStore::Open(impl->history_database.get()));
  ASSIGN_OR_RETURN(auto progress, impl->history->LoadProgress());
  ASSIGN_OR_RETURN(impl->journal, SqliteJournal::Open(impl->state_dir.journal_path()));
  Coordinator::Options coordinator_options;
  coordinator_options.heartbeat_interval = options.heartbeat_interval;
  coordinator_options.rendezvous_timeout = options.rendezvous_timeout;
  coordinator_options.random_token = RandomToken;
  ASSIGN_OR_RETURN(impl->coordinator, Coordinator::Recover(std::move(coordinator_options),
                                                           {.journal = impl->journal.get(),
                                                            .history = impl->history.get(),
                                                            .clock = options.clock,
                                                            .metrics = &impl->metrics},
                                                           std::move(progress)));
  Coordinator* const coordinator = impl->coordinator.get();
  impl->pump = std::make_unique<StreamPump>();
  impl->job_service = std::make_unique<JobService>(JobService::Parts{.coordinator = coordinator,
                                                                     .history = impl->history.get(),
                                                                     .logs = impl->logs.get(),
                                                                     .pump = impl->pump.get(),
                                                                     .clock = options.clock,
                                                                     .metrics = &impl->metrics});
  impl->checkpoint_service = std::make_unique<CheckpointService>(coordinator, &impl->metrics);
  impl->node_service = std::make_unique<NodeService>(coordinator, &impl->metrics);
  impl->worker_service = std::make_unique<WorkerService>(coordinator, impl->logs.get(), &impl->metrics);
  impl->ticker = std::make_unique<Ticker>(coordinator);
  Ticker* const ticker = impl->ticker.get();
  ASSIGN_OR_RETURN(impl->http,
                   HttpEndpoint::Start({.listen = options.http, .metrics = impl->metrics.registry(), .ready = [ticker] {
                                          return ticker->last_status();
                                        }}));
  Impl* const raw = impl.get();
  ASSIGN_OR_RETURN(impl->rpc, RpcServer::Start({.listen = options.listen,
                                                .credentials = options.credentials,
                                                .configure = [raw](grpc::ServerBuilder& builder) {
                                                  grpc::ResourceQuota quota("coordinator");
                                                  quota.SetMaxThreads(kThreadsMax);
                                                  builder.SetResourceQuota(quota);
                                                  builder.RegisterService(raw->job_service.get());
                                                  builder.RegisterService(raw->checkpoint_service.get());
                                                  builder.RegisterService(raw->node_service.get());
                                                  builder.RegisterService(raw->worker_service.get());
                                                }}));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::~Server() { impl_->rpc->Stop(kStopGrace); }

const std::string& Server::address() const { return impl_->rpc->address(); }
const std::string& Server::http_address() const { return impl_->http->address(); }

}  // namespace bert::coordinator
