import org.mlpipeline.Keys
import org.mlpipeline.Words

/** Leases GPUs, checks them, and runs the body with exactly these visible. See mlGpu.txt. */
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
    leased(args.label ?: 'gpu', count) {
        timeout(time: seconds, unit: 'SECONDS') { usage = onDevices(args, count, body) }
    }
    return usage
}

/** The lock comes before the node, so that no executor is held while devices are waited for. */
void leased(String label, int count, Closure body) {
    try {
        lock(label: label, quantity: count, variable: 'MLPIPELINE_GPU') { body() }
    } catch (NoSuchMethodError absent) {
        if (!Words.missing(absent, 'lock')) {
            throw absent
        }
        error('mlGpu needs the plugin lockable-resources: without it two builds would share a device')
    } catch (IllegalArgumentException unknown) {
        if (!String.valueOf(unknown.message).contains('resource label does not exist')) {
            throw unknown
        }
        error("mlGpu: no lockable resource has the label '${label}'; add one resource per GPU (resources/mlpipeline/jcasc.yaml shows how)")
    }
}

/** On the agent that has the leased devices; inside a node already, the body stays where it is. */
Map onDevices(Map args, int count, Closure body) {
    List devices = []
    List nodes = []
    for (int index = 0; index < count; index++) {
        devices << device(index)
        nodes << leasedProperty(index, 'NODE')
    }
    String home = nodes[0] ?: args.agent ?: ''
    if (nodes.any { it != nodes[0] }) {
        error("mlGpu: the leased devices are on several machines (${nodes.join(', ')}); give each machine a label of its own")
    }
    Map usage = [:]
    if (env.WORKSPACE) {
        if (nodes[0] && nodes[0] != env.NODE_NAME) {
            error("mlGpu: the leased devices are on ${nodes[0]}, but this build already holds ${env.NODE_NAME}; let mlGpu take the node")
        }
        usage = measured(args, devices, body)
    } else {
        node(home) { usage = measured(args, devices, body) }
    }
    return usage
}

/** Checks the devices before and reads their meters after the body, also when it fails. */
Map measured(Map args, List devices, Closure body) {
    String visible = devices.join(',')
    Map usage = [devices: visible]
    withEnv(["CUDA_VISIBLE_DEVICES=${visible}", "MLPIPELINE_GPUS=${visible}", 'CUDA_DEVICE_ORDER=PCI_BUS_ID']) {
        Map needed = args.memory ? [memory: args.memory] : [:]
        Map before = looked(args, devices, needed, [10, 11])
        String refusal = Words.refusal(before)
        if (refusal) {
            error("mlGpu: ${refusal}")
        }
        long began = System.currentTimeMillis()
        try {
            usage.value = body()
        } finally {
            usage.seconds = (int) ((System.currentTimeMillis() - began) / 1000)
            usage.gpu_seconds = usage.seconds * devices.size()
            echo("mlGpu: ${visible}: ${usage.gpu_seconds} GPU seconds")
        }
        usage.putAll(after(args, devices, before))
    }
    return usage
}

/** What the meters say now. The body is done: nothing that is wrong here may undo it. */
Map after(Map args, List devices, Map before) {
    try {
        return Words.metered(before, looked(args, devices, [:], [3, 10, 11]))
    } catch (InterruptedException stopped) {
        throw stopped
    } catch (Exception problem) {
        echo("mlGpu: the devices could not be looked at afterwards: ${problem.message}")
        return [:]
    }
}

Map looked(Map args, List devices, Map needed, List allowed) {
    Map options = [devices: devices.join(','), count: devices.size()] + needed
    return mlWorker(Keys.forWorker(args, false) + [verb: 'doctor-gpu', args: options, allow: allowed, retries: 0])
}

/** The number or UUID of a leased device: its property DEVICE or CUDA_VISIBLE_DEVICES. */
String device(int index) {
    String found = leasedProperty(index, 'DEVICE') ?: leasedProperty(index, 'CUDA_VISIBLE_DEVICES')
    if (!found || !(found ==~ /[A-Za-z0-9-]+/)) {
        String name = env."MLPIPELINE_GPU${index}"
        error("mlGpu: the lockable resource '${name}' needs a property DEVICE: the number or UUID of its GPU, not '${found}'")
    }
    return found
}

String leasedProperty(int index, String name) {
    return env."MLPIPELINE_GPU${index}_${name}" ?: ''
}
