import org.mlpipeline.Keys
import org.mlpipeline.Lease
import org.mlpipeline.Metered
import org.mlpipeline.Words

/** Leases GPUs, checks them, and runs the body with exactly these visible and metered. See mlGpu.txt. */
Map call(Map args = [:], Closure body) {
    String wrong = Keys.wrong('mlGpu', args, Keys.GPU)
    int count = args.count == null ? 1 : args.count
    int seconds = Words.seconds(args.timeout ?: '8h')
    wrong = wrong ?: (count < 1 ? 'mlGpu: count must be at least 1: a lock of 0 would take every device' : '')
    wrong = wrong ?: (seconds < 1 ? "mlGpu: timeout must be a duration such as '8h', not '${args.timeout}'" : '')
    if (wrong) {
        error(wrong)
    }
    Map usage = [:]
    Lease lease = new Lease(this, count)
    lease.during(args.label ?: 'gpu') {
        timeout(time: seconds, unit: 'SECONDS') {
            Metered metered = new Metered(this, args, lease.devices(), count)
            usage = lease.onMachine(args.agent ?: '') { metered.during(body) }
        }
    }
    return usage
}
