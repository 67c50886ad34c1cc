#include "bertctl/node_view.h"

#include <fmt/format.h>

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "bertctl/table.h"
#include "bertctl/value_format.h"
#include "common/spec/job_spec.h"

namespace bert::ctl {
namespace {

Cell StateCell(const v1::Node& node) {
  const auto* value = v1::NodeState_descriptor()->FindValueByNumber(node.state());
  return {value == nullptr ? fmt::format("{}", static_cast<int>(node.state()))
                           : absl::AsciiStrToUpper(spec::EnumValueName(*value)),
          node.state() == v1::NODE_STATE_READY ? Color::kGreen : Color::kRed};
}

std::string Dash(const std::string& text) { return text.empty() ? "-" : text; }

std::string Summary(const v1::ListNodesResponse& nodes, absl::Time now, bool color) {
  Table table({{"NODE"},
               {"STATE"},
               {"FREE", Align::kRight},
               {"SLOTS", Align::kRight},
               {"JOBS"},
               {"HEARTBEAT", Align::kRight},
               {"ADDRESS"},
               {"VERSION"}});
  for (const v1::Node& node : nodes.nodes()) {
    std::set<std::string> jobs;
    int free = 0;
    for (const v1::SlotStatus& slot : node.slots()) {
      if (slot.job_id().empty()) {
        ++free;
      } else {
        jobs.insert(slot.job_id());
      }
    }
    table.Add({{node.name()},
               StateCell(node),
               {fmt::format("{}", free)},
               {fmt::format("{}", node.slots_size())},
               {Dash(absl::StrJoin(jobs, ","))},
               {FormatAge(node.last_heartbeat(), now)},
               {Dash(node.address())},
               {Dash(node.version())}});
  }
  return table.Format(color);
}

std::string Slots(const v1::ListNodesResponse& nodes, absl::Time now, bool color) {
  Table table({{"NODE"},
               {"STATE"},
               {"SLOT", Align::kRight},
               {"DEVICE"},
               {"DESCRIPTION"},
               {"JOB"},
               {"RANK", Align::kRight},
               {"HEARTBEAT", Align::kRight}});
  for (const v1::Node& node : nodes.nodes()) {
    for (const v1::SlotStatus& status : node.slots()) {
      const auto* device = v1::DeviceKind_descriptor()->FindValueByNumber(status.slot().device());
      const bool taken = !status.job_id().empty();
      table.Add({{node.name()},
                 StateCell(node),
                 {fmt::format("{}", status.slot().index())},
                 {device == nullptr ? "-" : spec::EnumValueName(*device)},
                 {Dash(status.slot().description())},
                 {Dash(status.job_id())},
                 {taken ? fmt::format("{}", status.rank()) : "-"},
                 {FormatAge(node.last_heartbeat(), now)}});
    }
  }
  return table.Format(color);
}

}  // namespace

std::string NodeTable(const v1::ListNodesResponse& nodes, bool wide, absl::Time now, bool color) {
  std::string out = wide ? Slots(nodes, now, color) : Summary(nodes, now, color);
  if (nodes.loaders_size() > 0) {
    Table loaders({{"DATALOADER"}, {"STREAMS", Align::kRight}, {"HEARTBEAT", Align::kRight}, {"VERSION"}});
    for (const v1::Loader& loader : nodes.loaders()) {
      loaders.Add({{loader.address()},
                   {fmt::format("{}", loader.open_streams())},
                   {FormatAge(loader.last_heartbeat(), now)},
                   {Dash(loader.version())}});
    }
    out += "\n" + loaders.Format(color);
  }
  return out;
}

}  // namespace bert::ctl
