#include <pwd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "bertctl/command_line.h"
#include "bertctl/interruptible_input.h"

namespace {

bool ColorAllowed() {
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const term = std::getenv("TERM");
  return (no_color == nullptr || *no_color == '\0') && term != nullptr && std::string_view(term) != "dumb";
}

int TerminalWidth() {
  winsize size = {};
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  }
  return 0;
}

std::string UserName() {
  const passwd* const entry = getpwuid(geteuid());
  if (entry != nullptr && entry->pw_name != nullptr) return entry->pw_name;
  const char* const user = std::getenv("USER");
  return user != nullptr ? user : "";
}

}  // namespace

int main(int argc, char** argv) {
  // gRPC's own log lines repeat what every error here says.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  bert::ShutdownSignal shutdown;
  bert::ctl::InterruptibleInput input(STDIN_FILENO, shutdown);
  std::istream in(&input);
  bert::ctl::Console console{.in = in,
                             .out = std::cout,
                             .err = std::cerr,
                             .out_is_terminal = isatty(STDOUT_FILENO) == 1,
                             .err_is_terminal = isatty(STDERR_FILENO) == 1,
                             .color_allowed = ColorAllowed(),
                             .width = TerminalWidth,
                             .user = UserName()};
  return static_cast<int>(bert::ctl::RunCommandLine({argv + 1, argv + argc}, console, shutdown, bert::RealClock()));
}
