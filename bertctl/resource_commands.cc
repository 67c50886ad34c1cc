// bertctl checkpoint list, node list
#include <memory>

#include "bertctl/job_view.h"
#include "bertctl/node_view.h"
#include "bertctl/session.h"

namespace bert::ctl {
namespace {

using enum OutputFormat;

struct ResourceOptions {
  std::string job_id;
  OutputFormat format = kTable;
};

ExitCode ListCheckpoints(Session& session, const ResourceOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const auto checkpoints = (*client)->ListCheckpoints(options.job_id);
  if (!checkpoints.ok()) return session.Fail(checkpoints.status());
  std::ostream& out = session.console.out;
  if (options.format == kJson || options.format == kYaml) {
    v1::ListCheckpointsResponse all;
    for (const v1::Checkpoint& checkpoint : *checkpoints) *all.add_checkpoints() = checkpoint;
    out << (options.format == kJson ? ToJson(all) : ToYaml(all));
  } else if (options.format == kName) {
    for (const v1::Checkpoint& checkpoint : *checkpoints) out << checkpoint.directory() << "\n";
  } else if (checkpoints->empty()) {
    session.Note("no checkpoints yet");
  } else {
    out << CheckpointTable(*checkpoints, options.format == kWide, session.clock.Now(), session.console.color());
  }
  return ExitCode::kOk;
}

ExitCode ListNodes(Session& session, const ResourceOptions& options) {
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  const auto nodes = (*client)->ListNodes();
  if (!nodes.ok()) return session.Fail(nodes.status());
  std::ostream& out = session.console.out;
  if (options.format == kJson || options.format == kYaml) {
    out << (options.format == kJson ? ToJson(*nodes) : ToYaml(*nodes));
  } else if (options.format == kName) {
    for (const v1::Node& node : nodes->nodes()) out << node.name() << "\n";
  } else {
    if (nodes->nodes_size() == 0) session.Note("no nodes; start `bert-worker` on a machine to add one");
    if (nodes->nodes_size() + nodes->loaders_size() > 0) {
      out << NodeTable(*nodes, options.format == kWide, session.clock.Now(), session.console.color());
    }
  }
  return ExitCode::kOk;
}

}  // namespace

void AddResourceCommands(CLI::App& app, Session& session) {
  auto checkpoint_options = std::make_shared<ResourceOptions>();
  CLI::App* const checkpoint = app.add_subcommand("checkpoint", "A job's checkpoints");
  CLI::App* const checkpoint_list = checkpoint->add_subcommand("list", "Show committed checkpoints, newest first");
  checkpoint_list->add_option("JOB", checkpoint_options->job_id, "The job's id")->required();
  AddOutputOption(*checkpoint_list, {kTable, kWide, kJson, kYaml, kName}, checkpoint_options->format);
  checkpoint_list->footer(
      "Examples:\n  bertctl checkpoint list JOB\n"
      "  bert-model fill-mask --model \"$(bertctl checkpoint list JOB -o name | head -n 1)\"");
  checkpoint_list->callback([&session, checkpoint_options] {
    session.action = [&session, checkpoint_options] { return ListCheckpoints(session, *checkpoint_options); };
  });

  auto node_options = std::make_shared<ResourceOptions>();
  CLI::App* const node = app.add_subcommand("node", "The machines");
  CLI::App* const node_list = node->add_subcommand("list", "Show nodes with their slots, and dataloaders");
  AddOutputOption(*node_list, {kTable, kWide, kJson, kYaml, kName}, node_options->format);
  node_list->footer("Examples:\n  bertctl node list\n  bertctl node list -o wide");
  node_list->callback([&session, node_options] {
    session.action = [&session, node_options] { return ListNodes(session, *node_options); };
  });
}

}  // namespace bert::ctl
