// What a node agent counts.
#ifndef BERT_WORKER_AGENT_AGENT_METRICS_H_
#define BERT_WORKER_AGENT_AGENT_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <memory>

namespace bert::agent {

// Owns the registry that HttpEndpoint serves. The instruments are thread-safe and live as long as this.
struct AgentMetrics {
  AgentMetrics();

  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Gauge& slots;
  prometheus::Gauge& ranks_running;
  prometheus::Counter& starts;
  // By outcome; one of the four for every rank.
  prometheus::Counter& exits_ok;
  prometheus::Counter& exits_failed;
  // Ended because the coordinator, or the agent's own end, asked for it.
  prometheus::Counter& exits_ended;
  prometheus::Counter& exits_not_started;
  prometheus::Counter& registrations;
  prometheus::Counter& heartbeats_ok;
  prometheus::Counter& heartbeats_failed;
  prometheus::Gauge& last_heartbeat_seconds;
  prometheus::Counter& log_lines_read;
  prometheus::Counter& log_lines_acknowledged;
  prometheus::Counter& log_lines_dropped;
  prometheus::Counter& log_uploads_ok;
  prometheus::Counter& log_uploads_failed;
};

}  // namespace bert::agent

#endif  // BERT_WORKER_AGENT_AGENT_METRICS_H_
