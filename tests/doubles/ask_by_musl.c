/*
 * ask_by_musl FILTER: what musl does for a program, behind a worker's seccomp program (FILTER is its
 * struct sock_filter array), one line of each. It is linked with musl alone.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void *nothing(void *given) { return given; }

static void look_up(const char *name) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
  int status = getaddrinfo(name, "80", &hints, &found), count = 0;
  for (struct addrinfo *each = found; each; each = each->ai_next) count++;
  if (status) printf("%s: %s\n", name, gai_strerror(status));
  else printf("%s: %d\n", name, count);
}

int main(int count, char **arguments) {
  static struct sock_filter code[4096];
  int file = count > 1 ? open(arguments[1], O_RDONLY) : -1;
  ssize_t bytes = file < 0 ? -1 : read(file, code, sizeof code);
  if (bytes <= 0) return 1;
  struct sock_fprog program = {.len = bytes / sizeof *code, .filter = code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 2;
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0)) return 3;
  look_up("small.test");
  look_up("large.test");
  look_up("missing.test");
  pthread_t thread;
  printf("pthread_create: %d\n", pthread_create(&thread, NULL, nothing, NULL));
  pthread_join(thread, NULL);
  struct stat found;
  printf("stat: %d\n", stat("/dev/null", &found));
  char *space = malloc(1 << 22);
  printf("malloc: %d\n", space == NULL);
  free(space);
  return 0;
}
