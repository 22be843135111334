#include "postgres.h"
#include "launcher.h"
void og_launcher_request_shmem(void){} void og_launcher_init_shmem(void){} void og_launcher_register(void){}
Oid og_launcher_hold_for(Node*n){return 0;} void og_launcher_release(Oid d){} void og_launcher_wake_worker(Oid d){}
