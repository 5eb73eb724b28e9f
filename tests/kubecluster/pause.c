/* The first process of every pod: it holds the pod's network and reaps what is left to it, until it is told to end. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

static void ended(int number) {
    (void)number;
    exit(0);
}

int main(void) {
    sigset_t children;
    signal(SIGTERM, ended);
    signal(SIGINT, ended);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    for (;;) {
        int number;
        sigwait(&children, &number);
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}
