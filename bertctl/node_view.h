// Nodes and dataloaders as text.
#ifndef BERT_BERTCTL_NODE_VIEW_H_
#define BERT_BERTCTL_NODE_VIEW_H_

#include <string>

#include "absl/time/time.h"
#include "bert/v1/nodes.pb.h"

namespace bert::ctl {

// Nodes, and below them the dataloaders where there are any. With `wide` one line a slot.
std::string NodeTable(const v1::ListNodesResponse& nodes, bool wide, absl::Time now, bool color);

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_NODE_VIEW_H_
