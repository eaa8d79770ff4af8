/* macula cheat: what is typed for what. Each text is a script: the comments say what the lines do. */
#include <string.h>

#include "cli.h"

static const struct sheet {
  const char *name, *text;
} sheets[] = {
    {"messages", "# Listen to a topic and all below it: a line a message; with the time of each.\n"
                 "# It goes on until Ctrl-C: publish in another terminal, or put & behind it\n"
                 "macula sub 'plant.**'\n"
                 "macula sub 'plant.**' --timestamps\n"
                 "# Publish; to every subscriber at least once; for those who come later, too\n"
                 "macula pub plant.press.temp 21.5\n"
                 "macula pub plant.press.temp 21.5 --qos 1\n"
                 "macula pub plant.press.temp 21.5 --retain\n"
                 "# One message, its payload alone, into a file\n"
                 "macula sub 'plant.*.temp' --count 1 --payload-only --raw > temp\n"
                 "# Record as JSON, and play it again, with QoS, retain and headers\n"
                 "macula sub 'plant.**' --json --count 1 > record\n"
                 "macula pub -l --json < record\n"
                 "# Clear what is kept for later\n"
                 "macula pub plant.press.temp '' --retain\n"
                 "# A message a line; a file as one message\n"
                 "seq 3 | macula pub -l log.host1\n"
                 "macula pub image.logo < logo.png\n"
                 "# Share the work, until Ctrl-C: each message goes to one member of the group\n"
                 "macula sub 'job.**' --group workers\n"},
    {"calls", "# Answer calls by a fixed text, a program, or with what was asked. It goes on\n"
              "# until Ctrl-C: call in another terminal, or put & behind it\n"
              "macula serve math.add --reply 5\n"
              "macula serve time.now --exec 'date +%s'\n"
              "macula serve echo --echo\n"
              "# Call, with arguments as JSON\n"
              "macula call math.add '{\"a\":2,\"b\":3}'\n"
              "echo '{\"a\":2,\"b\":3}' | macula call math.add --timeout 2s\n"
              "# Who serves what\n"
              "macula services\n"},
    {"contexts", "# Keep where a node is, and use it from now on\n"
                 "macula context add plant --server 127.0.0.1:9443 --use\n"
                 "# Which there are; another one for one command; none any more\n"
                 "macula context list\n"
                 "macula --context plant status\n"
                 "MACULA_CONTEXT=plant macula status\n"
                 "macula context use none\n"
                 "macula context rm plant\n"},
    {"trust", "# Who am I to nodes\n"
              "macula id\n"
              "# A token that nodes and clients share\n"
              "(umask 077; macula token new > token)\n"
              "# A realm's key, and a pass for an identity that it signs\n"
              "macula realm new realm.key\n"
              "macula pass new --key realm.key --id $(macula id) --sub 'plant.**' > me.pass\n"
              "macula pass check me.pass\n"},
    {"operate", "# The node, its limits and memory; who is there; the mesh\n"
                "macula status\n"
                "macula clients\n"
                "macula subs\n"
                "macula peers\n"
                "# Of all nodes; of one of them, by the first digits of its id; who would\n"
                "# hear a topic, and what of it was lost\n"
                "macula status --mesh\n"
                "macula subs --mesh\n"
                "macula trace plant.press.temp\n"
                "# Why is it not reached; how fast does it answer; what happens now\n"
                "macula doctor\n"
                "macula ping --count 2\n"
                "macula top --once\n"
                "# The page of the node: a link that logs in once\n"
                "macula dashboard\n"
                "# Something to look at: fifty devices, services and callers; Ctrl-C ends them\n"
                "macula demo --duration 2s\n"
                "# For scripts\n"
                "macula status --json\n"
                "# How fast is it\n"
                "macula bench rpc --outstanding 64 --duration 1s\n"},
};
#define SHEETS "messages calls contexts trust operate"

static int run(struct cli *cli, void *options) {
  bool found = false;
  (void)options;
  for (size_t i = 0; i < sizeof sheets / sizeof sheets[0]; i++) {
    if (cli->argc && strcmp(cli->argv[0], sheets[i].name) != 0) continue;
    printf("%s%s%s", i && !cli->argc ? "\n" : "", cli->argc ? "" : "### ", cli->argc ? "" : sheets[i].name);
    printf("%s%s", cli->argc ? "" : "\n", sheets[i].text);
    found = true;
  }
  return found ? 0 : cli_invalid(MACULA_EINVAL, "there are sheets for messages, calls, contexts, trust and operate");
}

const struct command command_cheat = {
    "cheat",
    "cheat [SHEET]",
    "show what is typed for what",
    "Shows commands by task: all, or those of one sheet.\n\n"
    "Example: macula cheat messages\n",
    NULL,
    0,
    0,
    1,
    run,
    SHEETS,
    .is_local = true,
};
