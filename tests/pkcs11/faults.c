/* Stands before a PKCS #11 module and makes its token fail as the file says that SIGNET_TEST_FAULT names:
 * c  closes every session of the token, once; what follows is the module's own doing
 * r  says that the device was removed
 * h  does not answer
 * w  spoils each signature
 * Without the file everything goes to the module that SIGNET_TEST_MODULE names. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef unsigned long ck;

/* CK_FUNCTION_LIST of PKCS #11 2.40, section 3.6: the version and 68 functions, in this order. */
struct list {
    unsigned char version[2];
    void *call[68];
};
enum { OPEN_SESSION = 12, CLOSE_ALL_SESSIONS = 14, GET_SESSION_INFO = 15, SIGN_INIT = 42, SIGN = 43 };

#define CKR_GENERAL_ERROR 0x5UL
#define CKR_DEVICE_REMOVED 0x32UL

static struct list *real, shown;

static int fault(void) {
    FILE *file = fopen(getenv("SIGNET_TEST_FAULT"), "r");
    int letter = 0;
    if (file) {
        letter = fgetc(file);
        fclose(file);
    }
    return letter;
}

static ck open_session(ck slot, ck flags, void *application, void *notify, ck *session) {
    if (fault() == 'r') return CKR_DEVICE_REMOVED;
    return ((ck (*)(ck, ck, void *, void *, ck *))real->call[OPEN_SESSION])(slot, flags, application, notify, session);
}

static ck get_session_info(ck session, ck *info) {
    if (fault() == 'r') return CKR_DEVICE_REMOVED;
    return ((ck (*)(ck, ck *))real->call[GET_SESSION_INFO])(session, info);
}

static ck sign_init(ck session, void *mechanism, ck key) {
    int now = fault();
    if (now == 'r') return CKR_DEVICE_REMOVED;
    while (fault() == 'h') usleep(20000);
    if (now == 'c' && unlink(getenv("SIGNET_TEST_FAULT")) == 0) {
        ck info[8] = {0};
        ((ck (*)(ck, ck *))real->call[GET_SESSION_INFO])(session, info);
        ((ck (*)(ck))real->call[CLOSE_ALL_SESSIONS])(info[0]);
    }
    return ((ck (*)(ck, void *, ck))real->call[SIGN_INIT])(session, mechanism, key);
}

static ck sign(ck session, void *data, ck length, unsigned char *signature, ck *size) {
    ck result = ((ck (*)(ck, void *, ck, unsigned char *, ck *))real->call[SIGN])(session, data, length, signature, size);
    if (result == 0 && signature && fault() == 'w') signature[0] ^= 1;
    return result;
}

ck C_GetFunctionList(struct list **list) {
    if (!real) {
        void *module = dlopen(getenv("SIGNET_TEST_MODULE"), RTLD_NOW);
        void *get = module ? dlsym(module, "C_GetFunctionList") : NULL;
        if (!get || ((ck (*)(struct list **))get)(&real) != 0) return CKR_GENERAL_ERROR;
        shown = *real;
        shown.call[OPEN_SESSION] = open_session;
        shown.call[GET_SESSION_INFO] = get_session_info;
        shown.call[SIGN_INIT] = sign_init;
        shown.call[SIGN] = sign;
    }
    *list = &shown;
    return 0;
}
