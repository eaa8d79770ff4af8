/* Subscribes to a pattern, publishes one message to it, prints what comes back, and ends.
 * Build: cc pubsub.c $(pkg-config --cflags --libs macula)    Run, beside a node: ./a.out */
#include <macula/macula.h>
#include <stdio.h>
#include <string.h>

static void on_message(void *ctx, macula_client client, const macula_message *m) {
  (void)client, (void)ctx;
  printf("%s %.*s\n", m->topic, (int)m->len, (const char *)m->payload);
}

static int fail(const char *what, int err) {
  fprintf(stderr, "%s: %s: %s %s\n", what, macula_err_name(err), macula_err_text(err), macula_last_error());
  return 1;
}

int main(void) {
  macula_loop *loop;
  macula_client client;
  macula_sub sub;
  int err = macula_loop_new(NULL, &loop);
  if (err) return fail("loop", err);
  err = macula_connect(loop, NULL, &client);
  if (!err) err = macula_connect_wait(client, 5000);
  if (err) {
    int code = fail("connect", err);
    macula_loop_free(loop);
    return code;
  }
  macula_subscribe_options own = {MACULA_INIT(macula_subscribe_options), .own = true};
  err = macula_subscribe_sync(client, "example.**", &own, on_message, NULL, 5000, &sub);
  if (!err) err = macula_publish_sync(client, "example.greeting", "hello", strlen("hello"), NULL, 5000);
  macula_loop_free(loop); /* says goodbye, and delivers what has arrived before */
  return err ? fail("publish", err) : 0;
}
