// Where bertctl reads and writes.
#ifndef BERT_BERTCTL_CONSOLE_H_
#define BERT_BERTCTL_CONSOLE_H_

#include <functional>
#include <istream>
#include <ostream>
#include <string>

namespace bert::ctl {

// Results go to `out`, everything else to `err`. The streams outlive it.
struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  // Whether a terminal may be coloured: NO_COLOR is unset and TERM is not "dumb".
  bool color_allowed = false;
  // Columns of the terminal now; 0: unknown.
  std::function<int()> width = [] { return 0; };
  // Who submits.
  std::string user = {};

  bool color() const { return color_allowed && out_is_terminal; }
};

}  // namespace bert::ctl

#endif  // BERT_BERTCTL_CONSOLE_H_
