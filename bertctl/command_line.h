// bertctl from its arguments to its exit code.
#ifndef BERT_BERTCTL_COMMAND_LINE_H_
#define BERT_BERTCTL_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "bertctl/console.h"
#include "bertctl/exit_code.h"
#include "common/clock.h"
#include "common/shutdown.h"

namespace bert::ctl {

// Runs one command; `arguments` without the program's name. Ends with kInterrupted soon after `shutdown` is requested.
ExitCode RunCommandLine(const std::vector<std::string>& arguments, Console& console, ShutdownSignal& shutdown,
                        Clock& clock);

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_COMMAND_LINE_H_
