// Serves a procedure and calls it, in one program.
// Build: c++ rpc.cpp $(pkg-config --cflags --libs macula)    Run, beside a node: ./a.out
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <macula/macula.h>
#include <memory>
#include <string>

namespace {

struct LoopFree {
  void operator()(macula_loop *l) const { macula_loop_free(l); }
};

int fail(const char *what, int err) {
  std::fprintf(stderr, "%s: %s: %s %s\n", what, macula_err_name(err), macula_err_text(err), macula_last_error());
  return EXIT_FAILURE;
}

void on_request(void *, macula_client client, const macula_request *r) {
  std::string result = "{\"echo\":" + std::string(static_cast<const char *>(r->args), r->len) + "}";
  macula_reply(client, r->id, result.data(), result.size());
}

} // namespace

int main() {
  macula_loop *raw = nullptr;
  if (int err = macula_loop_new(nullptr, &raw)) return fail("loop", err);
  std::unique_ptr<macula_loop, LoopFree> loop(raw);

  macula_client client{};
  int err = macula_connect(loop.get(), nullptr, &client);
  if (!err) err = macula_connect_wait(client, 5000);
  if (err) return fail("connect", err);

  macula_service service{};
  err = macula_serve_sync(client, "example.echo", nullptr, on_request, nullptr, nullptr, 5000, &service);
  if (err) return fail("advertise", err);

  char *data = nullptr;
  size_t len = 0;
  const char args[] = "{\"n\":1}";
  err = macula_call_sync(client, "example.echo", args, std::strlen(args), nullptr, 5000, &data, &len);
  if (err) return fail("call", err);
  std::printf("%.*s\n", static_cast<int>(len), data);
  macula_free(data);
  return EXIT_SUCCESS;
}
