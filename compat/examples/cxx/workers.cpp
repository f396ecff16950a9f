// C++17 over the same header: subscriptions that end with their scope, closures as handlers, work posted to a thread
// that waits alertably, and a critical section as a guard.
#include <sigplane.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

void check(int error)
{
    if (error != SIGPLANE_OK)
        throw std::runtime_error(sigplane_strerror(error));
}

// Ends with its scope, and the closure with it.
class Subscription {
public:
    using Handler = std::function<void(const sigplane_event &)>;

    Subscription(std::uint64_t set, const char *name, Handler handler)
    {
        auto owned = std::make_unique<Handler>(std::move(handler));
        sigplane_options options = SIGPLANE_OPTIONS_INIT;
        options.name = name;
        options.destroy = [](void *user) { delete static_cast<Handler *>(user); };
        auto call = [](const sigplane_event *event, void *user) { (*static_cast<Handler *>(user))(*event); };
        check(sigplane_subscribe_dispatcher(set, &options, call, owned.get(), &subscription_));
        owned.release(); // sigplane's now: it calls `destroy`
    }
    ~Subscription() { sigplane_unsubscribe(subscription_, nullptr); }
    Subscription(const Subscription &) = delete;
    Subscription &operator=(const Subscription &) = delete;

private:
    sigplane_subscription subscription_{};
};

struct Deferral {
    Deferral() { sigplane_defer(); }
    ~Deferral() { sigplane_undefer(); }
    Deferral(const Deferral &) = delete;
    Deferral &operator=(const Deferral &) = delete;
};

// A thread that does what is posted to it.
class Worker {
public:
    Worker()
    {
        std::promise<sigplane_thread> started;
        auto handle = started.get_future();
        thread_ = std::thread([this, &started] {
            sigplane_thread self;
            check(sigplane_thread_current(&self));
            started.set_value(self);
            while (!stop_)
                sigplane_wait(-1);
        });
        self_ = handle.get();
    }
    ~Worker()
    {
        run([this] { stop_ = true; });
        thread_.join();
    }
    void run(std::function<void()> job)
    {
        auto call = [](void *argument) { (*static_cast<std::function<void()> *>(argument))(); };
        check(sigplane_post_wait(self_, call, &job));
    }

private:
    bool stop_ = false; // the worker's own
    std::thread thread_;
    sigplane_thread self_{};
};

} // namespace

int main()
{
    auto token = std::make_shared<int>(0);
    std::promise<std::string> told;
    {
        Subscription usr1(SIGPLANE_SIGNAL(SIGUSR1), "workers", [&told, token](const sigplane_event &event) {
            told.set_value("signal " + std::to_string(event.signo) + ", value " + std::to_string(event.value));
        });
        {
            Deferral critical;
            check(sigplane_raise_value(SIGUSR1, 42));
            std::printf("deferred: %d\n", sigplane_is_deferred());
        }
        std::printf("%s\n", told.get_future().get().c_str());
        std::printf("closure: %s\n", token.use_count() > 1 ? "alive" : "gone");
    }
    std::printf("closure: %s\n", token.use_count() > 1 ? "alive" : "gone");

    Worker worker;
    const auto here = std::this_thread::get_id();
    for (int i = 0; i < 3; i++)
        worker.run([&token, here] { *token += std::this_thread::get_id() != here; });
    std::printf("posted: %d\n", *token);

    size_t needed = 0;
    check(sigplane_table_text(nullptr, 0, &needed));
    std::string table(needed, ' ');
    check(sigplane_table_text(&table[0], table.size() + 1, &needed));
    std::printf("table: %s\n", table.find("SIGNAL") == 0 ? "printed" : table.c_str());
    return 0;
}
