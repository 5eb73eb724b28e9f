/* The launcher of a bundle: starts its interpreter by its own loader, in an image that may hold nothing else.
 *
 * A static program without any library. It finds the bundle by its own path and becomes
 *
 *     DIR/lib/LOADER --library-path DIR/lib --argv0 DIR/bin/python3 DIR/lib/interpreter -I -S -m penstock.watchdog --launched-as NAME ARGS...
 *
 * where NAME is what it was called by. Variables that would steer the loader or the interpreter's locale belong to the
 * image's programs: they are passed under names that begin with ASIDE, and penstock.watchdog.__main__ gives them back.
 * Called python..., it is the interpreter instead, with its arguments and its environment as they are. Called penstock, it
 * starts the command line by `-I -S -m penstock ARGS...`, also in the environment as it is.
 *
 * Built by tools/build_launchers.sh; the results are kept beside this file.
 */

typedef unsigned long word;

#define NULL ((void *)0)
#define PATH_MOST 4096
#define LINKS_MOST 16
#define AT_FDCWD (-100)
#define AT_EXECFN 31
#define CANNOT_RUN 127
#define ASIDE "PENSTOCK_ASIDE_"
#define COMMAND_LINE "penstock"

#if defined(__x86_64__)
#define LOADER "ld-linux-x86-64.so.2"
enum { WRITE = 1, MMAP = 9, EXECVE = 59, EXIT = 231, READLINKAT = 267 };

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");

static long call(long number, word a, word b, word c, word d, word e, word f) {
    long result;
    register word r10 __asm__("r10") = d;
    register word r8 __asm__("r8") = e;
    register word r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
#define LOADER "ld-linux-aarch64.so.1"
enum { WRITE = 64, MMAP = 222, EXECVE = 221, EXIT = 94, READLINKAT = 78 };

__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tand sp, x0, #-16\n\tbl begin\n");

static long call(long number, word a, word b, word c, word d, word e, word f) {
    register word x8 __asm__("x8") = number;
    register word x0 __asm__("x0") = a;
    register word x1 __asm__("x1") = b;
    register word x2 __asm__("x2") = c;
    register word x3 __asm__("x3") = d;
    register word x4 __asm__("x4") = e;
    register word x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#else
#error "no launcher for this machine"
#endif

/* Text */

static word length(const char *text) {
    word count = 0;
    while (text[count])
        count++;
    return count;
}

static int begins(const char *text, const char *with) {
    while (*with)
        if (*text++ != *with++)
            return 0;
    return 1;
}

static int same(const char *text, const char *other) {
    return begins(text, other) && begins(other, text);
}

static int has_slash(const char *text) {
    while (*text)
        if (*text++ == '/')
            return 1;
    return 0;
}

/* Copies without the final NUL and returns the place behind the copy. */
static char *append(char *to, const char *text) {
    while (*text)
        *to++ = *text++;
    return to;
}

static const char *base_name(const char *path) {
    const char *name = path;
    for (; *path; path++)
        if (path[0] == '/' && path[1])
            name = path + 1;
    return name;
}

/* Cuts the last part off a path. False when there is no other part. */
static int cut(char *path) {
    char *slash = NULL;
    for (char *at = path; *at; at++)
        if (*at == '/')
            slash = at;
    if (!slash)
        return 0;
    *slash = 0;
    return 1;
}

/* Memory is given out once and never taken back: this program lives for one call. */

static char *memory;

static char *join(const char *directory, const char *name) {
    char *path = memory;
    memory = append(append(memory, directory), name);
    *memory++ = 0;
    return path;
}

static void complain(const char *name, const char *text, const char *path) {
    char *line = memory;
    char *end = append(append(append(append(line, name), ": "), text), path);
    *end++ = '\n';
    call(WRITE, 2, (word)line, end - line, 0, 0, 0);
}

/* Places */

static long read_link(const char *path, char *into) {
    long count = call(READLINKAT, (word)AT_FDCWD, (word)path, (word)into, PATH_MOST - 1, 0, 0);
    if (count > 0)
        into[count] = 0;
    return count;
}

/* Follows links from the path that was executed, for a container without /proc. */
static void follow(char *path) {
    char target[PATH_MOST];
    for (int turn = 0; turn < LINKS_MOST && read_link(path, target) > 0; turn++) {
        char *from = path;
        if (target[0] != '/' && cut(path)) {
            from = path + length(path);
            *from++ = '/';
        }
        if (from - path + length(target) >= PATH_MOST)
            return;
        *append(from, target) = 0;
    }
}

static void find_self(char *path, const char *executed) {
    if (read_link("/proc/self/exe", path) > 0 && path[0] == '/')
        return;
    if (length(executed) + sizeof("./") > PATH_MOST)
        executed = "";
    *append(has_slash(executed) ? path : append(path, "./"), executed) = 0;
    follow(path);
}

static const char *executed_path(word *auxiliary, const char *otherwise) {
    for (; auxiliary[0]; auxiliary += 2)
        if (auxiliary[0] == AT_EXECFN)
            return (const char *)auxiliary[1];
    return otherwise;
}

/* What the interpreter is given */

static int is_steering(const char *entry) {
    return begins(entry, "LD_") || begins(entry, "LC_ALL=") || begins(entry, "LOCPATH=") ||
           begins(entry, "GLIBC_TUNABLES=");
}

static void set_aside(char **from, char **to) {
    for (; *from; from++)
        *to++ = is_steering(*from) ? join(ASIDE, *from) : *from;
    *to++ = "LC_ALL=C"; /* the interpreter's own mode for UTF-8, without a variable that it would add by itself */
    *to = NULL;
}

static char **arguments(char **to, const char *directory, const char *name, char **own) {
    char **all = to;
    *to++ = join(directory, "/lib/" LOADER);
    *to++ = "--library-path";
    *to++ = join(directory, "/lib");
    *to++ = "--argv0";
    *to++ = join(directory, "/bin/python3");
    *to++ = join(directory, "/lib/interpreter");
    if (same(name, COMMAND_LINE)) {
        *to++ = "-I";
        *to++ = "-S";
        *to++ = "-m";
        *to++ = COMMAND_LINE;
    } else if (!begins(name, "python")) {
        *to++ = "-I";
        *to++ = "-S";
        *to++ = "-m";
        *to++ = "penstock.watchdog";
        *to++ = "--launched-as";
        *to++ = (char *)name;
    }
    while (*own)
        *to++ = *own++;
    *to = NULL;
    return all;
}

void begin(word *stack) {
    word count = stack[0];
    char **argv = (char **)(stack + 1), **environment = argv + count + 1, **end = environment;
    word size = (count + 32) * sizeof(char *) + 16 * PATH_MOST + (count ? length(argv[0]) : 0);
    while (*end)
        size += length(*end++) + sizeof(char *) + sizeof(ASIDE);
    size += (end - environment + 2) * sizeof(char *);

    long mapped = call(MMAP, 0, size, 3 /* read, write */, 0x22 /* private, anonymous */, (word)-1, 0);
    if (mapped < 0 && mapped > -4096)
        call(EXIT, CANNOT_RUN, 0, 0, 0, 0, 0);
    char **room = (char **)mapped;
    char **variables = room + count + 32;
    memory = (char *)(variables + (end - environment) + 2);

    char directory[PATH_MOST];
    const char *executed = executed_path((word *)(end + 1), count ? argv[0] : "");
    const char *name = base_name(count ? argv[0] : executed);
    find_self(directory, executed);
    int turns = 1;
    if (begins(name, "python")) {
        variables = environment;
        turns = 2; /* a copy of it, instead of a link, is in bin: the bundle is one level above */
    } else if (same(name, COMMAND_LINE)) {
        variables = environment;
    } else {
        set_aside(environment, variables);
    }
    while (turns-- && cut(directory)) {
        char **given = arguments(room, directory, name, count ? argv + 1 : argv);
        call(EXECVE, (word)given[0], (word)given, (word)variables, 0, 0, 0);
    }
    complain(name, "its bundle is not here, it needs lib/" LOADER " beside ", executed);
    call(EXIT, CANNOT_RUN, 0, 0, 0, 0, 0);
}
