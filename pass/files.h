/* What the subcommands of pass/ share: files, ids, times, questions. Each returns an exit code, its error printed. */
#ifndef PASS_FILES_H
#define PASS_FILES_H

#include "access/access.h"
#include "cli/cli.h"
#include "trust/pass.h"
#include "trust/revoked.h"

uint64_t files_now(void); /* Unix seconds */
#define FILES_TIME_LEN 32
const char *files_time(uint64_t unix_seconds, char ret_text[FILES_TIME_LEN]); /* UTC, as 2026-11-29T12:00:00Z */

/* A private key; only its owner may read the file. */
int files_key(const char *path, struct crypto_key **ret_key);
/* This user's identity, or the one of --identity. */
int files_identity(struct cli *cli, struct crypto_key **ret_key);
int files_id(const char *option, const char *text, struct id *ret_id);
/* A pass in its text form; "-": standard input. */
int files_pass(const char *path, uint8_t ret_bytes[PASS_MAX], size_t *ret_len);
/* A list of what was revoked; *ret_list is NULL when there is no such file and it may be missing. */
int files_revoked(const char *path, bool may_miss, const struct id *realms, size_t realm_count, struct revoked **ret_list);
int files_access(const char *path, struct access **ret_access);
void files_read_token_of(struct access_files *ret_files);

/* RIGHT and WHAT of a question, WHAT in stored form. */
struct question {
  enum right right;
  char what[NAME_MAX_LEN + 1];
};
int files_question(const char *right, const char *what, struct question *ret_question);
/* Says yes or no, and which rule of what (a file's name; lines count when they are not 0): EXIT_DONE or EXIT_FAILED. */
int files_answer(const struct cli *cli, const struct grant *g, const struct name_values *who, const struct question *q,
                 const char *of);

extern struct mem files_mem;

#endif
