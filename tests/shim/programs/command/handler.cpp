// Handlers with the names of C++.
#include <csignal>

namespace demo {

class Handler {
public:
    static void on_term(int) {}
    static void install() {
        struct sigaction action = {};
        action.sa_handler = on_term;
        sigaction(SIGTERM, &action, nullptr);
    }
};

namespace {
template <int number> void on_any(int) {}
} // namespace

} // namespace demo

int main() {
    demo::Handler::install();
    std::signal(SIGHUP, demo::on_any<1>);
    return 0;
}
