// SPDX-License-Identifier: GPL-2.0
/* Interrupts, their domains, and CPUs. */

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/kernel_stat.h>
#include <linux/rcupdate.h>
#include <linux/topology.h>
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>
#include <asm/irq_regs.h>
#include <asm/processor-flags.h>

bool oxen_helper_is_cpu_online(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_online(cpu);
}

/* The kernel looks a CPU up without asking whether there is one. */
int oxen_helper_bring_cpu(unsigned int cpu, bool up)
{
	if (!get_cpu_device(cpu))
		return -ENODEV;
	return up ? add_cpu(cpu) : remove_cpu(cpu);
}

bool oxen_helper_is_cpu_possible(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu);
}

void oxen_helper_irq_set_effective_cpu(struct irq_data *d, unsigned int cpu)
{
	irq_data_update_effective_affinity(d, cpumask_of(cpu));
}

int oxen_helper_irq_alloc_desc(void)
{
	return __irq_alloc_descs(-1, 1, 1, NUMA_NO_NODE, NULL, NULL);
}

struct irq_domain *oxen_helper_vector_domain(void)
{
	return x86_vector_domain;
}

/* The vector that the APIC raises for this interrupt, 0 if none is assigned. */
u8 oxen_helper_irq_vector(struct irq_data *d)
{
	struct irq_cfg *cfg = irqd_cfg(d);

	return cfg ? cfg->vector : 0;
}

/* A managed interrupt stays with its CPU; see managed_irq in the irq core. */
int oxen_helper_irq_alloc_on_cpu(struct irq_domain *domain, unsigned int cpu)
{
	struct irq_affinity_desc affinity = { .is_managed = 1 };
	struct irq_alloc_info info = { .hwirq = cpu };

	cpumask_set_cpu(cpu, &affinity.mask);
	return __irq_domain_alloc_irqs(domain, -1, 1, cpu_to_node(cpu), &info,
				       false, &affinity);
}

unsigned long oxen_helper_irq_alloc_info_hwirq(const struct irq_alloc_info *info)
{
	return info->hwirq;
}

/*
 * The flow of an interrupt that only one CPU ever gets: no lock and no state, so it is ended by disabling it and
 * waiting until no CPU is in it.
 */
void oxen_helper_flow_local(struct irq_desc *desc)
{
	struct irq_data *data = &desc->irq_data;
	struct irqaction *action = desc->action;

	/* Only this CPU counts here. */
	desc->tot_count++;
	__this_cpu_inc(desc->kstat_irqs->cnt);
	__this_cpu_inc(kstat.irqs_sum);
	data->chip->irq_ack(data);
	if (likely(action && !irqd_irq_disabled(data)))
		action->handler(data->irq, action->dev_id);
}

/*
 * The flow above for a vector. None comes while interrupts are off, but QEMU's emulation of SVM can deliver an injected
 * one a second time, into a handler that holds any lock. That one brings nothing new.
 */
void oxen_helper_flow_vector(struct irq_desc *desc)
{
	struct pt_regs *regs = get_irq_regs();

	if (likely(!regs || !regs_irqs_disabled(regs)))
		oxen_helper_flow_local(desc);
}

#if IS_BUILTIN(CONFIG_KUNIT)
/* Has the interrupt come, to a CPU with interrupts on or off. */
int oxen_helper_irq_comes(unsigned int irq, bool on)
{
	struct pt_regs regs = { .flags = on ? X86_EFLAGS_IF : 0 }, *old;
	unsigned long saved;
	int ret;

	local_irq_save(saved);
	__irq_enter_raw();
	old = set_irq_regs(&regs);
	ret = generic_handle_irq(irq);
	set_irq_regs(old);
	__irq_exit_raw();
	local_irq_restore(saved);
	return ret;
}
#endif

/* Ends the flows above. */
void oxen_helper_irq_end_local(unsigned int irq)
{
	disable_irq_nosync(irq);
	synchronize_rcu();
}

void oxen_helper_irq_set_one_cpu(unsigned int irq, unsigned int cpu)
{
	struct irq_data *data = irq_get_irq_data(irq);

	irq_modify_status(irq, 0, IRQ_NO_BALANCING | IRQ_PER_CPU);
	if (data && cpu < nr_cpu_ids)
		irq_data_update_affinity(data, cpumask_of(cpu));
}

u8 oxen_helper_reschedule_vector(void)
{
	return RESCHEDULE_VECTOR;
}

u64 oxen_helper_jiffies_now(void)
{
	return get_jiffies_64();
}

u32 oxen_helper_ticks_per_second(void)
{
	return HZ;
}

u32 oxen_helper_current_cpu(void)
{
	return raw_smp_processor_id();
}

int oxen_helper_cpuhp_setup_multi(const char *name,
				  int (*up)(unsigned int cpu, struct hlist_node *node),
				  int (*down)(unsigned int cpu, struct hlist_node *node))
{
	return cpuhp_setup_state_multi(CPUHP_AP_ONLINE_DYN, name, up, down);
}
